"""What holds for every test.

Warnings are errors (setup.cfg). So is a log line of level WARNING or above that nobody announced: a test that
provokes one says so with `@pytest.mark.expects_log("pattern")`, one mark for each. With NO_SKIPS set, as in
continuous integration, a skipped test fails the run: everything is installed there, so all of it must run.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator

import hypothesis
import pytest

# Repeatable, so that what is red here is red for everyone; no deadline, since a busy machine is no failure.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("house")


@pytest.fixture(autouse=True)
def unannounced_log_lines_fail(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    yield
    patterns = [re.compile(mark.args[0]) for mark in request.node.iter_markers("expects_log")]
    lines = [
        f"{record.levelname} {record.name}: {record.getMessage()}"
        for phase in ("setup", "call", "teardown")
        for record in caplog.get_records(phase)
        if record.levelno >= logging.WARNING
    ]
    unannounced = [line for line in lines if not any(pattern.search(line) for pattern in patterns)]
    missing = [pattern.pattern for pattern in patterns if not any(pattern.search(line) for line in lines)]
    assert not unannounced, "log lines that no expects_log announces:\n" + "\n".join(unannounced)
    assert not missing, f"log lines announced by expects_log that never came: {missing}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("NO_SKIPS") and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("")
        reporter.write_line("NO_SKIPS is set, and tests were skipped", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
