"""The key that signs this installation's cookies: made once, kept in the data directory, 0600."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def cookie_secret(data_dir: Path) -> bytes:
    """32 random bytes, hex-encoded. Of two processes starting at once the first wins. Raises OSError."""
    path = data_dir / "cookie_secret"
    if not path.exists():
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = data_dir / f".cookie_secret.{os.getpid()}.{secrets.token_hex(4)}"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_bytes()
