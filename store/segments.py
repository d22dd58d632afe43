"""A journal's files: slots that a process owns by the kernel's lock, and preallocated segments in them.

`journal/<slot>/lock` is held by flock for the life of a process, so that the kernel frees the slot exactly
when the process dies. `journal/<slot>/<number>.log` is a segment: a header, then records, then zeros. Its
room is allocated when it is made: an append into it needs no more room on the disk.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

MAGIC: Final = b"ROOYA-J1"
HEADER: Final = struct.Struct("<8sIIQ")  # magic, slot, start, number of the segment
SEGMENT_BYTES: Final = 8 * 1024 * 1024
ZEROS: Final = bytes(256 * 1024)
# linux/fs.h
FS_IOC_GETFLAGS: Final = 0x80086601
FS_IOC_SETFLAGS: Final = 0x40086602
FS_NOCOW_FL: Final = 0x00800000
FIRST_POSITION: Final = HEADER.size


class SlotTaken(Exception):
    """Another process owns the slot."""


class Slot:
    """A directory of the journal that this process owns until `release`, or its end."""

    def __init__(self, number: int, directory: Path, lock: int) -> None:
        self.number = number
        self.directory = directory
        self._lock = lock

    @classmethod
    def take(cls, journal: Path, number: int) -> Self:
        """Raises SlotTaken, OSError."""
        directory = journal / str(number)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise SlotTaken(number) from None
        except BaseException:
            os.close(lock)
            raise
        return cls(number, directory, lock)

    def release(self) -> None:
        os.close(self._lock)

    def segments(self) -> list[int]:
        """The numbers of the segments there are, in order."""
        return sorted(int(path.stem) for path in self.directory.glob("*.log") if path.stem.isdigit())

    def path(self, number: int) -> Path:
        return self.directory / f"{number:010d}.log"

    def remove(self, number: int) -> None:
        self.path(number).unlink(missing_ok=True)

    def set_aside(self, number: int, data: bytes) -> Path:
        """Keep what cannot be read, out of the way, for the operator to look at."""
        path = self.directory / f"{number:010d}.unreadable"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
        return path

    def read(self, number: int) -> bytes:
        return self.path(number).read_bytes()


def taken_slots(journal: Path) -> list[int]:
    """The slots that were ever taken, by number."""
    if not journal.is_dir():
        return []
    return sorted(int(path.name) for path in journal.iterdir() if path.name.isdigit())


class Segment:
    """A segment to append to. end: where the next record goes. following: the next one, once it is full.

    Appends go into mapped memory: no system call, and like any write they outlive the process. The pages are
    written once beforehand, so that none of them needs room, or a read of the disk, when its time comes.
    """

    def __init__(self, number: int, descriptor: int, size: int) -> None:
        self.number = number
        self.size = size
        self.end = FIRST_POSITION
        self.following: Segment | None = None
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, size)

    @classmethod
    def create(cls, slot: Slot, start: int, number: int, size: int = SEGMENT_BYTES) -> Self:
        """Allocate it whole. Raises OSError (ENOSPC) and then leaves no file behind."""
        path = slot.path(number)
        draft = path.with_suffix(".part")
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_in_place(descriptor)
            os.posix_fallocate(descriptor, 0, size)
            header = HEADER.pack(MAGIC, slot.number, start, number)
            for at in range(0, size, len(ZEROS)):
                _write_all(descriptor, ZEROS[: size - at], at)
            _write_all(descriptor, header, 0)
            segment = cls(number, descriptor, size)
            os.rename(draft, path)
        except BaseException:
            os.close(descriptor)
            draft.unlink(missing_ok=True)
            raise
        return segment

    def append(self, data: bytes) -> None:
        """The caller has made sure that there is room."""
        end = self.end
        after = end + len(data)
        self._memory[end:after] = data
        self.end = after

    def read(self, start: int, end: int) -> bytes:
        return self._memory[start:end]

    def fileno(self) -> int:
        return self._descriptor

    def sync(self) -> None:
        """Return when everything appended so far is on the disk."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        self._memory.close()
        os.close(self._descriptor)


def _write_in_place(descriptor: int) -> None:
    """On a file system that copies on write (btrfs), ask for a file that it does not copy; others refuse.

    There a page that is written again would need new room, and a full disk would end the process.
    """
    flags = array("l", [0])
    with suppress(OSError):
        fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, flags, True)
        flags[0] |= FS_NOCOW_FL
        fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, flags)


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, at)
        data, at = data[written:], at + written


def is_segment(data: bytes) -> bool:
    """Does it begin as a segment of this format?"""
    return data[: len(MAGIC)] == MAGIC and len(data) >= HEADER.size
