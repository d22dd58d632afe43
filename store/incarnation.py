"""The number of the shared counters that hold now: one for all processes on a data directory.

It lives in a mapped file, so that reading it, which every call does, is no system call, and a rise is seen by
all at once. It only rises, by whoever holds `rebuild.lock`, which the kernel frees when its holder dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

NUMBER_BYTES: Final = 8


class Incarnation:
    """Raises OSError where the files cannot be made. `close` at the end."""

    def __init__(self, data_dir: Path) -> None:
        self._lock_path = data_dir / "rebuild.lock"
        descriptor = os.open(data_dir / "incarnation", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, NUMBER_BYTES)  # what is there stays
            self._memory = mmap.mmap(descriptor, NUMBER_BYTES)
            self._number = memoryview(self._memory).cast("Q")  # all eight bytes are read and written at once
        finally:
            os.close(descriptor)

    def close(self) -> None:
        self._number.release()
        self._memory.close()

    @property
    def number(self) -> int:
        return self._number[0]

    @contextmanager
    def exclusive(self, *, is_waiting: bool = True) -> Iterator[None]:
        """Hold the lock. While another process does, block, or raise BlockingIOError. Raises OSError."""
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if is_waiting else fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)

    def raise_number(self) -> int:
        """The new number. Only while the lock is held.

        Never one that another data directory has had, whose counters may still be in the same Redis.
        """
        number = max(self.number + 1, time.time_ns() // 1_000_000)
        self._number[0] = number
        self._memory.flush()
        return number

    def outdate(self) -> None:
        """Have the counters filled anew, whatever they hold by now. Blocks. Raises OSError."""
        with self.exclusive():
            self.raise_number()
