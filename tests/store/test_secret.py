"""The cookie secret: one for an installation, for nobody else to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from store.secret import cookie_secret


def test_it_is_made_once_and_private(tmp_path: Path) -> None:
    first = cookie_secret(tmp_path / "data")
    assert len(first) == 64
    assert cookie_secret(tmp_path / "data") == first
    assert cookie_secret(tmp_path / "other") != first
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data" / "cookie_secret").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["cookie_secret"]


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    # Each says that it is ready and waits for its input to end, so that all ask in the same moment.
    code = (
        "import sys; from pathlib import Path; from store.secret import cookie_secret; "
        "print(end='.', flush=True); sys.stdin.read(); "
        f"print(cookie_secret(Path({str(tmp_path / 'data')!r})).decode(), end='')"
    )
    command = [sys.executable, "-c", code]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(6)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.read(1) == "."
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    found = set()
    for process in processes:
        assert process.stdout is not None
        found.add(process.stdout.read())
        process.stdout.close()
        assert process.wait(30) == 0
    assert found == {cookie_secret(tmp_path / "data").decode()}
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["cookie_secret"]
