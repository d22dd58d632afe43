"""Fetches the newest published prices and checks that they can be read: a short-lived child.

    python -m providers.price_fetch FROM TO

FROM is a URL, a file, or `published` for where genai-prices publishes them; TO is written whole or not at
all. Refuses (status 1, the reason on stderr) what is no list of prices, or much shorter than the bundled one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import httpx2
from genai_prices.data_snapshot import get_snapshot
from genai_prices.update_prices import DEFAULT_UPDATE_URL

from providers.price_lookup import Lookup

TIMEOUT_S: Final = 30.0
MOST_BYTES: Final = 64 * 1024 * 1024


def fetch(source: str) -> bytes:
    """Raises httpx2.HTTPError, OSError, ValueError."""
    url = DEFAULT_UPDATE_URL if source == "published" else source
    if not url.startswith(("http://", "https://")):
        return Path(source).read_bytes()
    with httpx2.stream("GET", url, timeout=TIMEOUT_S, follow_redirects=True) as response:
        response.raise_for_status()
        data = b""
        for piece in response.iter_bytes():
            data += piece
            if len(data) > MOST_BYTES:
                raise ValueError("the answer is larger than any list of prices")
    return data


def main(source: str, target: Path) -> int:
    draft = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        draft.write_bytes(fetch(source))
        models = Lookup(draft).count()
        bundled = sum(len(provider.models) for provider in get_snapshot().providers)
        if models < bundled // 2:
            raise ValueError(f"it has {models} models where the bundled list has {bundled}")
        os.replace(draft, target)
    except (httpx2.HTTPError, OSError, ValueError, TypeError, KeyError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        draft.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
