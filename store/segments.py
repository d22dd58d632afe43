"""A journal's files: slots that a process owns by the kernel's lock, and preallocated segments in them.

`journal/<slot>/lock` is held by flock for the life of a process, so that the kernel frees the slot exactly
when the process dies. `journal/<slot>/<number>.log` is a segment: a header, then records, then zeros. Its
room is allocated when it is made: an append into it needs no more room on the disk.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Final, Self

MAGIC: Final = b"ROOYA-J1"
HEADER: Final = struct.Struct("<8sIIQ")  # magic, slot, start, number of the segment
SEGMENT_BYTES: Final = 16 * 1024 * 1024
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
    """A segment to append to. end: where the next record goes. following: the next one, once it is full."""

    def __init__(self, number: int, descriptor: int, size: int) -> None:
        self.number = number
        self.size = size
        self.end = FIRST_POSITION
        self.following: Segment | None = None
        self._descriptor = descriptor

    @classmethod
    def create(cls, slot: Slot, start: int, number: int, size: int = SEGMENT_BYTES) -> Self:
        """Allocate it whole. Raises OSError (ENOSPC) and then leaves no file behind."""
        path = slot.path(number)
        draft = path.with_suffix(".part")
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            os.pwrite(descriptor, HEADER.pack(MAGIC, slot.number, start, number), 0)
            os.rename(draft, path)
        except BaseException:
            os.close(descriptor)
            draft.unlink(missing_ok=True)
            raise
        return cls(number, descriptor, size)

    def append(self, data: bytes) -> None:
        """Raises OSError and then has appended nothing: what was written in part is written over."""
        end = self.end
        written = os.pwrite(self._descriptor, data, end)
        while written < len(data):
            written += os.pwrite(self._descriptor, data[written:], end + written)
        self.end = end + len(data)

    def read(self, start: int, end: int) -> bytes:
        return os.pread(self._descriptor, end - start, start)

    def fileno(self) -> int:
        return self._descriptor

    def sync(self) -> None:
        """Return when everything appended so far is on the disk."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def is_segment(data: bytes) -> bool:
    """Does it begin as a segment of this format?"""
    return data[: len(MAGIC)] == MAGIC and len(data) >= HEADER.size
