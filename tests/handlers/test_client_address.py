"""R-10: the right-most untrusted hop is the client, whatever it writes to the left of it."""

from __future__ import annotations

import random
from ipaddress import ip_network

import pytest

from handlers.client_address import UNIX_PEER, ClientAddresses

TRUSTED = [ip_network("127.0.0.1"), ip_network("::1"), ip_network("10.0.0.0/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("127.0.0.1", None, "127.0.0.1"),
        ("203.0.113.7", b"1.2.3.4", "203.0.113.7"),
        ("127.0.0.1", b"1.2.3.4", "1.2.3.4"),
        ("127.0.0.1", b"6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("127.0.0.1", b"6.6.6.6, 1.2.3.4, 10.1.1.1", "1.2.3.4"),
        ("127.0.0.1", b"10.1.1.1", "10.1.1.1"),
        ("127.0.0.1", b"1.2.3.4, nonsense", "127.0.0.1"),
        ("127.0.0.1", b"nonsense, 1.2.3.4", "1.2.3.4"),
        ("127.0.0.1", b"", "127.0.0.1"),
        ("127.0.0.1", b"[2001:db8::1]:443", "2001:db8::1"),
        ("127.0.0.1", b"2001:db8::1", "2001:db8::1"),
        ("127.0.0.1", b"1.2.3.4:5678", "1.2.3.4"),
        ("127.0.0.1", b"\xff\xfe", "127.0.0.1"),
        ("::ffff:127.0.0.1", b"1.2.3.4", "1.2.3.4"),
        ("::1", b"1.2.3.4", "1.2.3.4"),
        ("fe80::1%eth0", b"1.2.3.4", "fe80::1%eth0"),
        (UNIX_PEER, b"1.2.3.4", "1.2.3.4"),
        (UNIX_PEER, None, UNIX_PEER),
    ],
)
def test_the_client_is_the_right_most_untrusted_hop(peer: str, forwarded: bytes | None, client: str) -> None:
    addresses = ClientAddresses(TRUSTED)
    assert addresses.find(peer, forwarded) == client
    assert addresses.find(peer, forwarded) == client


def test_a_thousand_forged_values_from_one_peer_stay_one_client() -> None:
    addresses = ClientAddresses(TRUSTED)
    rng = random.Random(1)
    forged = [
        b", ".join(
            b"%d.%d.%d.%d" % tuple(rng.randrange(256) for _ in range(4)) for _ in range(rng.randrange(1, 40))
        )
        for _ in range(1000)
    ]
    assert {addresses.find("198.51.100.1", value) for value in forged} == {"198.51.100.1"}
    assert {addresses.find("127.0.0.1", value + b", 198.51.100.1") for value in forged} == {"198.51.100.1"}
