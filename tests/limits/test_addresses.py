"""Requests of addresses: what the contract does not say, being about memory."""

from __future__ import annotations

import gc
import weakref

import pytest

from limits.addresses import Addresses

NOON_MS = 1_800_000_000_000
FORGOTTEN_MS = 2 * 61_000  # after that long without a request, at the next one of anybody


class Name(str):
    """An address of which one can see whether anybody holds it."""


def test_an_address_that_sends_nothing_is_forgotten() -> None:
    addresses, name = Addresses(), Name("192.0.2.1")
    held = weakref.ref(name)
    addresses.count(name, 5, NOON_MS)
    del name
    for later_ms in range(0, FORGOTTEN_MS, 1000):
        addresses.count("192.0.2.2", 1_000_000, NOON_MS + later_ms)
    gc.collect()
    assert held() is not None
    addresses.count("192.0.2.2", 1_000_000, NOON_MS + FORGOTTEN_MS)
    gc.collect()
    assert held() is None


def test_all_addresses_are_forgotten_after_a_long_silence() -> None:
    addresses = Addresses()
    names = [Name(f"192.0.2.{number}") for number in range(3)]
    held = [weakref.ref(name) for name in names]
    for number, name in enumerate(names):
        addresses.count(name, 5, NOON_MS + number * 40_000)
    del names, name
    addresses.count("192.0.2.9", 5, NOON_MS + 80_000 + 10 * FORGOTTEN_MS)
    gc.collect()
    assert [name() for name in held] == [None, None, None]


def test_an_address_is_known_through_any_pause_shorter_than_a_minute() -> None:
    for pause_ms in (1, 999, 1000, 29_999, 30_000, 59_000, 59_999, 60_000):
        for first_ms in range(0, 122_000, 1000):
            addresses = Addresses()
            addresses.count("192.0.2.9", 1, NOON_MS)
            assert addresses.count("192.0.2.1", 1, NOON_MS + first_ms) == 0
            addresses.count("192.0.2.9", 1, NOON_MS + first_ms + pause_ms // 2)
            assert addresses.count("192.0.2.1", 1, NOON_MS + first_ms + pause_ms) > 0


def test_a_flood_of_addresses_takes_bounded_memory_and_spares_the_latest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("limits.addresses.MOST_ADDRESSES", 100)
    addresses = Addresses()
    names = [Name(f"2001:db8:{number:x}::/64") for number in range(1000)]
    held = [weakref.ref(name) for name in names]
    for number, name in enumerate(names):
        assert addresses.count(name, 1, NOON_MS + number) == 0
    for name in names[-100:]:
        assert addresses.count(name, 1, NOON_MS + 1000) > 0
    del names, name
    gc.collect()
    assert sum(name() is not None for name in held) <= 200


def test_an_address_that_is_refused_all_the_time_passes_when_its_minute_is_over() -> None:
    addresses = Addresses()
    for later_ms in range(0, 610_000, 100):
        passed = addresses.count("192.0.2.1", 2, NOON_MS + later_ms) == 0
        assert passed == (later_ms % 61_000 in (0, 100))
