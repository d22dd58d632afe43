"""The number of the shared counters that hold now: one for all processes on a data directory.

It lives in a mapped file, so that reading it, which every call does, is no system call, and a rise is seen by
all at once. It only rises, by whoever holds `rebuild.lock`, which the kernel frees when its holder dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

NUMBER: Final = struct.Struct("<Q")


class Incarnation:
    """Raises OSError where the files cannot be made. `close` at the end."""

    def __init__(self, data_dir: Path) -> None:
        self._lock_path = data_dir / "rebuild.lock"
        descriptor = os.open(data_dir / "incarnation", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, NUMBER.size)  # what is there stays
            self._memory = mmap.mmap(descriptor, NUMBER.size)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        self._memory.close()

    @property
    def number(self) -> int:
        number: int = NUMBER.unpack_from(self._memory)[0]
        return number

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock; blocks while another process does. Raises OSError."""
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def raise_number(self) -> int:
        """The new number. Only while the lock is held."""
        number = self.number + 1
        self._memory[:] = NUMBER.pack(number)  # eight aligned bytes: nobody sees half of it
        self._memory.flush()
        return number
