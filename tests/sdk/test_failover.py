"""Sentinels replace a master that dies under load: no budget is overspent, and the counters equal the ledger.

The replica has what had reached it by then, which may be less than what the master had answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.limits.redis_servers import RedisServer, free_port, sentinel
from tests.sdk.limited import ask, eventually
from tests.sdk.redis_site import BACK, COST, LOST, TOKENS, UNAVAILABLE, Load, calls_under_way, fleet

CALLS: Final = 300  # that the budget pays for
QUICK: Final = (
    "sentinel down-after-milliseconds limits 500",
    "sentinel failover-timeout limits 3000",
)


@contextmanager
def replicated() -> Iterator[tuple[RedisServer, RedisServer, str]]:
    """A master, its replica, and the URL by which a Sentinel tells which of them is to be asked."""
    with RedisServer(port=free_port()) as master:
        options = ("--replicaof", "127.0.0.1", str(master.port))
        with RedisServer(*options, port=free_port()) as replica:
            eventually(lambda: "master_link_status:up" in replica.ask("INFO", "replication"), "no replica")
            with sentinel(master, *QUICK) as guard:
                eventually(
                    lambda: "slaves=1" in guard.ask("INFO", "sentinel"), "it does not know of a replica"
                )
                yield master, replica, f"redis+sentinel://127.0.0.1:{guard.port}/limits"


def leads(server: RedisServer) -> bool:
    try:
        return "role:master" in server.ask("INFO", "replication")
    except OSError:  # it cuts all connections when it begins to
        return False


@pytest.mark.parametrize("processes", [1, 3])
def test_no_budget_is_overspent_when_a_replica_takes_over_under_load(tmp_path: Path, processes: int) -> None:
    with replicated() as (master, replica, url), fleet(tmp_path, processes, url) as all_of_it:
        poor = all_of_it.key("--budget", str(CALLS * COST / 10**9))
        free = all_of_it.key()
        with (
            calls_under_way(all_of_it, poor["key"]) as (calls, release),
            Load(all_of_it, [poor["key"], free["key"]]) as load,
        ):
            load.go_on(10 * processes)
            master.stop()
            all_of_it.await_health("degraded")
            load.go_on(5 * processes)
            eventually(lambda: leads(replica), "nobody takes over")
            all_of_it.await_health("ok")
            release.set()
            eventually(lambda: (402, "budget_exceeded") in load.outcomes[poor["key"]], "never spent")
        assert {call.result().status for call in calls} == {200}
        assert set(load.outcomes[free["key"]]) == {(200, None)}, load.outcomes
        unusual = {UNAVAILABLE} if processes > 1 else set()
        expected = {(200, None), (402, "budget_exceeded"), *unusual}
        assert set(load.outcomes[poor["key"]]) <= expected, load.outcomes
        while ask(all_of_it.gateways[0], poor["key"], max_tokens=TOKENS).status == 200:
            pass
        assert all_of_it.assert_booked(poor) == CALLS * COST
        assert all_of_it.lines(LOST) == all_of_it.lines(BACK)
