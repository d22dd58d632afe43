"""Waits for the disk, once for everybody who asks meanwhile: `journal_sync = "always"`."""

from __future__ import annotations

import asyncio
import os

from store.errors import LedgerFull
from store.journal import Journal


class GroupSync:
    """Belongs to the event loop that appends to the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        """Return when all that was appended before is on the disk. Raises LedgerFull where it refuses."""
        # One that runs may have begun before the last append; the one after it has not.
        if self._next is None:
            self._next = asyncio.create_task(self._sync(self._running))
        await asyncio.shield(self._next)

    async def _sync(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait((before,))
        self._running, self._next = self._next, None
        # A descriptor of its own: the mover may close the segment once it is full and moved.
        descriptor = os.dup(self._journal.segment.fileno())
        try:
            await asyncio.to_thread(os.fdatasync, descriptor)
        except OSError as error:
            raise LedgerFull(f"the journal cannot be brought to the disk: {error.strerror}") from error
        finally:
            os.close(descriptor)
