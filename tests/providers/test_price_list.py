"""The list of prices with real children: what is known and unknown, hostile, at once, killed, in vain."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop
from genai_prices import data_snapshot, types

from providers import vendors
from providers.price_list import COMMAND, MOST_KNOWN, ROOT, PriceList, Served, question_of
from providers.price_lookup import Lookup, tariff_of
from providers.pricing import Tariff, cost, from_usd
from providers.types import Usage

NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
OPENAI: Final = "https://api.openai.com/v1"
GPT: Final = Served("openai", OPENAI, "gpt-4o")
HAIKU: Final = Served("openai_compatible", "https://api.anthropic.com/v1", "claude-haiku-4-5")
TARIFF: Final = Tariff.flat(from_usd({"input": 7}))

# A child that writes its process id into a file, then does as real children do, or as the code says.
CHILD: Final = """
import os, sys, time
open(sys.argv[1], "a").write(f"{os.getpid()}\\n")
"""
SERVE: Final = "os.execv(sys.executable, [sys.executable, '-m', 'providers.price_lookup'])"
REAL: Final = CHILD + SERVE
GATED: Final = f"""{CHILD}
while not os.path.exists(sys.argv[1] + ".go"):
    time.sleep(0.01)
{SERVE}"""


Job = Callable[[PriceList], Coroutine[Any, Any, None]]


def run(job: Job, command: Sequence[str] = COMMAND, *, use_uvloop: bool = False, **options: Any) -> None:
    async def whole() -> None:
        prices = PriceList(command, **options)
        await job(prices)
        await prices.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if use_uvloop else None) as runner:
        runner.run(whole())


def command(code: str, started: Path) -> tuple[str, ...]:
    return (sys.executable, "-c", code, str(started))


def hanging(started: Path) -> tuple[str, ...]:
    return ("/bin/sh", "-c", 'echo $$ >> "$0"; exec sleep 600', str(started))


def go(started: Path) -> None:
    """Let the gated children do their work."""
    Path(f"{started}.go").touch()


def children(started: Path) -> list[int]:
    return [int(line) for line in started.read_text().split()]


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def until_started(started: Path, count: int = 1) -> None:
    while not started.exists() or len(children(started)) < count:
        await asyncio.sleep(0.01)


def input_rate(tariff: Tariff | None) -> int | None:
    return tariff.at(NOW).rates.input if tariff else None


@pytest.mark.parametrize("use_uvloop", [False, True])
def test_a_child_is_asked_once_for_what_is_known_and_what_is_not(use_uvloop: bool, tmp_path: Path) -> None:
    started = tmp_path / "started"
    unknown = Served("openai", OPENAI, "no-such-model")

    async def job(prices: PriceList) -> None:
        assert not prices.is_known(GPT)
        found = await prices.resolve([GPT, unknown, HAIKU])
        rates = {served.model: input_rate(tariff) for served, tariff in found.items()}
        assert rates == {"gpt-4o": 2_500_000_000, "no-such-model": None, "claude-haiku-4-5": 1_000_000_000}
        assert prices.find(GPT) is found[GPT]
        assert prices.find(unknown) is None
        assert await prices.resolve([unknown, GPT]) == {unknown: None, GPT: found[GPT]}
        await prices.close()
        assert len(children(started)) == 1
        assert not is_alive(children(started)[0])

    run(job, command(REAL, started), use_uvloop=use_uvloop)


HOSTILE: Final = [
    'gpt-4o"}\n{"provider":"openai","api_url":null,"model":"gpt-4o',
    "gpt\x00-4o\nnull",
    "\ud800",
    "\u2028\u202e" * 9,
    "--data=/etc/passwd",
    "(" * 256,
]


def test_a_hostile_name_is_only_a_name() -> None:
    async def job(prices: PriceList) -> None:
        names = [Served("mistral", "", name) for name in HOSTILE]
        good = Served("mistral", "", "mistral-large-4")
        found = await prices.resolve([*names, good])
        assert [found[name] for name in names] == [None] * len(names)
        assert input_rate(found[good]) == 700_000_000

    run(job)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[" * 100_000,
        "{}",
        '{"provider":null,"api_url":null,"model":"gpt-4o"}',
        '{"provider":"","api_url":"","model":"gpt-4o"}',
        '{"provider":"openai","api_url":null,"model":""}',
        '{"provider":"openai","api_url":null,"model":7}',
        '{"provider":["openai"],"api_url":null,"model":"gpt-4o"}',
        '{"provider":"anthropic","api_url":null,"model":"claude-haiku-4-5-' + "x" * 300 + '"}',
        '{"provider":"no-such","api_url":null,"model":"gpt-4o"}',
        '{"provider":null,"api_url":"https://llm.example.org/v1","model":"gpt-4o"}',
    ],
    ids=lambda line: line[:70],
)
def test_what_is_no_question_has_no_answer(line: str) -> None:
    assert Lookup().answer(line) == "null"


def test_a_vendor_is_asked_for_by_id_and_anybody_by_url() -> None:
    own = Served("openai_compatible", "https://api.z.ai/v1", "glm")
    asked = {
        Served("xai", "https://proxy.example.org/v1", "grok-4"): ("x-ai", None),
        Served("azure", "https://it.openai.azure.com", "gpt-4o"): ("azure", None),
        own: (None, own.base_url),
    }
    for served, (provider, api_url) in asked.items():
        question = json.loads(question_of(served) or "null")
        assert question == {"provider": provider, "api_url": api_url, "model": served.model}


@pytest.mark.parametrize(
    "served",
    [
        Served("ollama", "https://api.openai.com/v1", "gpt-4o"),
        Served("vllm", "http://gpu.example.org:8000/v1", "gpt-4o"),
        Served("lmstudio", "http://localhost:1234/v1", "gpt-4o"),
        Served("demo", "", "demo"),
        Served("no-such-kind", OPENAI, "gpt-4o"),
        Served("openai_compatible", "http://localhost:8000/v1", "gpt-4o"),
        Served("openai_compatible", "http://[::1]:80/v1", "gpt-4o"),
        Served("openai_compatible", "http://[::1", "gpt-4o"),
        Served("openai_compatible", "http://gpu.internal/v1", "gpt-4o"),
        Served("openai_compatible", "", "gpt-4o"),
        Served("openai", OPENAI, ""),
        Served("openai", OPENAI, "a" * 257),
    ],
)
def test_where_nobody_publishes_prices_nobody_is_asked(served: Served) -> None:
    async def job(prices: PriceList) -> None:
        assert await prices.resolve([served]) == {served: None}
        assert prices.find(served) is None

    run(job, ("/no/such/program",))


def test_every_vendor_with_prices_is_in_the_list_under_that_name() -> None:
    listed = {provider.id for provider in data_snapshot.get_snapshot().providers}
    named = {row.price_provider for row in vendors.ROWS.values()} - {""}
    assert named <= listed
    assert {"openai", "x-ai", "mistral", "deepseek"} <= named


def test_two_at_once_share_one_child_and_later_ones_the_next(tmp_path: Path) -> None:
    started = tmp_path / "started"
    o3, o4 = (Served("openai", OPENAI, name) for name in ("o3", "o4-mini"))

    async def job(prices: PriceList) -> None:
        first = [asyncio.create_task(prices.resolve(names)) for names in ([GPT, o3], [o3])]
        await until_started(started)
        later = [asyncio.create_task(prices.resolve(names)) for names in ([GPT, HAIKU], [o4], [HAIKU])]
        await asyncio.sleep(0)
        go(started)
        answers = await asyncio.gather(*first, *later)
        assert len(children(started)) == 2
        assert answers[0][o3] is answers[1][o3]
        assert answers[2][HAIKU] is answers[4][HAIKU]
        assert all(tariff for answer in answers for tariff in answer.values())

    run(job, command(GATED, started))


def test_who_is_cancelled_takes_the_answer_from_nobody(tmp_path: Path) -> None:
    started = tmp_path / "started"

    async def job(prices: PriceList) -> None:
        gone, stays = (asyncio.create_task(prices.resolve([GPT])) for _ in range(2))
        await until_started(started)
        gone.cancel()
        go(started)
        assert input_rate((await stays)[GPT]) == 2_500_000_000
        assert gone.cancelled()
        assert len(children(started)) == 1

    run(job, command(GATED, started))


@pytest.mark.expects_log(r"cannot look up prices, next try in 30 s: ValueError")
def test_a_killed_child_is_no_answer_for_ever(tmp_path: Path) -> None:
    started = tmp_path / "started"
    now = [0.0]
    # The first one answers the first question and is killed at the second; the next one is real.
    code = f"""{CHILD}
if len(open(sys.argv[1]).readlines()) == 1:
    print({TARIFF.to_json()!r}, flush=True)
    time.sleep(600)
{SERVE}"""

    async def job(prices: PriceList) -> None:
        waiting = asyncio.create_task(prices.resolve([GPT, HAIKU]))
        await until_started(started)
        while not prices.is_known(GPT):
            await asyncio.sleep(0.01)
        os.kill(children(started)[0], 9)
        found = await waiting
        assert (input_rate(found[GPT]), found[HAIKU]) == (7_000_000_000, None)
        assert not prices.is_known(HAIKU)
        now[0] = 29.9
        assert await prices.resolve([HAIKU]) == {HAIKU: None}
        assert len(children(started)) == 1
        now[0] = 30.0
        assert input_rate((await prices.resolve([HAIKU]))[HAIKU]) == 1_000_000_000

    run(job, command(code, started), clock=lambda: now[0])


@pytest.mark.expects_log(r"cannot look up prices, next try in 30 s: TimeoutError")
def test_a_child_that_hangs_is_ended_in_time(tmp_path: Path) -> None:
    started = tmp_path / "started"

    async def job(prices: PriceList) -> None:
        first = asyncio.create_task(prices.resolve([GPT]))
        await until_started(started)
        second = asyncio.create_task(prices.resolve([HAIKU]))  # would be the next batch
        assert (await first, await second) == ({GPT: None}, {HAIKU: None})
        await prices.close()
        assert not is_alive(children(started)[0])
        assert len(children(started)) == 1

    run(job, hanging(started), timeout_s=1)


@pytest.mark.expects_log(r"cannot look up prices, next try in 30 s: (ValueError|FileNotFoundError)")
@pytest.mark.parametrize(
    "bad",
    [
        ("/no/such/program",),
        (sys.executable, "-c", "raise SystemExit('it is broken')"),
        (sys.executable, "-c", "print('{}', flush=True)"),
        (sys.executable, "-c", "print('x' * 2**21, flush=True)"),
        (sys.executable, "-c", "import os; os.write(1, b'null')"),
        (*COMMAND, "--data", "/no/such/file"),
    ],
)
def test_a_child_that_fails_is_a_warning_and_no_price(bad: tuple[str, ...]) -> None:
    async def job(prices: PriceList) -> None:
        assert await prices.resolve([GPT]) == {GPT: None}
        assert not prices.is_known(GPT)

    run(job, bad)


@pytest.mark.parametrize("is_early", [True, False])
def test_closing_ends_the_child_and_the_waiting(is_early: bool, tmp_path: Path) -> None:
    started = tmp_path / "started"

    async def job(prices: PriceList) -> None:
        waiting = asyncio.create_task(prices.resolve([GPT]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # now the child is being made
        if not is_early:
            await until_started(started)
        async with asyncio.timeout(5):
            await prices.close()
        assert await waiting == {GPT: None}
        assert not any(map(is_alive, children(started) if started.exists() else []))

    run(job, hanging(started))


def test_no_secret_is_handed_to_the_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    seen = tmp_path / "environment"
    code = "import os, sys; open(sys.argv[1], 'w').write(repr(dict(os.environ))); print('null')"

    async def job(prices: PriceList) -> None:
        assert await prices.resolve([GPT]) == {GPT: None}

    run(job, command(code, seen))
    assert "PATH" in seen.read_text() and "sk-secret" not in seen.read_text()


def test_what_is_preset_needs_no_child_until_much_else_has_pushed_it_out() -> None:
    async def job(prices: PriceList) -> None:
        prices.preset(HAIKU, TARIFF)
        prices.preset(GPT, TARIFF)
        assert await prices.resolve([GPT, HAIKU]) == {GPT: TARIFF, HAIKU: TARIFF}
        for number in range(MOST_KNOWN):
            prices.preset(Served("openai", OPENAI, str(number)), None)
        assert not prices.is_known(GPT)
        assert not prices.is_known(HAIKU)

    run(job, ("/no/such/program",))


def test_published_data_goes_before_the_bundled(tmp_path: Path) -> None:
    published = tmp_path / "data.json"
    model = {"id": "gpt-4o", "match": {"equals": "gpt-4o"}, "prices": {"input_mtok": 9, "output_mtok": 10}}
    provider = {"id": "openai", "name": "OpenAI", "api_pattern": "https://api", "models": [model]}
    published.write_text(json.dumps([provider]))
    question = question_of(GPT)
    answer = subprocess.run(
        [*COMMAND, "--data", str(published)],
        cwd=ROOT,
        input=question,
        capture_output=True,
        text=True,
        check=True,
    )
    price = Tariff.from_json(answer.stdout).at(NOW)
    assert price.rates.input == 9_000_000_000
    assert price.source.startswith("genai-prices data ")


def test_a_model_of_another_provider_has_no_variants_there() -> None:
    """As in the library: Azure serves OpenAI's models, and has no price for priority in the list."""
    own, lent = (Lookup().find(provider, None, "gpt-4o") for provider in ("openai", "azure"))
    assert own is not None and lent is not None
    usage = Usage(1000, variant="service_tier=priority")
    assert cost(own.at(NOW), usage) == 4_250_000
    assert cost(lent.at(NOW), usage) == 2_500_000


def mtok(usd: int) -> types.ModelPrice:
    return types.ModelPrice(input_mtok=Decimal(usd))


def test_a_price_may_change_when_that_of_a_variant_does_not() -> None:
    """And a window may go over midnight."""
    since = types.StartDateConstraint(date(2026, 11, 1))
    night = types.TimeOfDateConstraint(time(22), time(2))
    model = types.ModelInfo(
        "it",
        types.ClauseEquals("it"),
        prices=[types.ConditionalPrice(prices=mtok(10)), types.ConditionalPrice(night, prices=mtok(5))],
        price_variants=[
            types.PriceVariant({"service_tier": "flex"}, mtok(3), since),
            types.PriceVariant(
                {"processing": "batch"}, mtok(1), types.StartDateConstraint(date(2026, 11, 5))
            ),
        ],
    )
    tariff = tariff_of(model, "it")
    assert tariff is not None
    for day in (date(2026, 10, 31), date(2026, 11, 1)):
        for hour in range(24):
            moment = datetime.combine(day, time(hour), UTC)
            for variant, context in (("", None), ("service_tier=flex", {"service_tier": "flex"})):
                expected = model.get_prices(moment, context).input_mtok
                assert isinstance(expected, Decimal)
                assert cost(tariff.at(moment.timestamp()), Usage(1000, variant=variant)) == expected * 10**6
    assert tariff.at(NOW) is tariff.at(NOW + 86_400)
    assert len(tariff.periods) == 6  # night, day and night again, before and after the date


def test_what_is_not_priced_by_the_token_has_no_price_and_is_not_free() -> None:
    for provider, model in (("openai", "whisper-1"), ("openai", "tts-1"), ("google", "gemma-3")):
        assert Lookup().find(provider, None, model) is None
