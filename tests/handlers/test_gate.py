"""The window of an address (R-10): what is counted, whose it is, and that its refusal comes before all else.

The gateway trusts 127.0.0.1 as a proxy and no other address of this machine. Every test has its own.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path

import pytest

from handlers.gate import Addresses
from tests.fakes.vendor import Vendor
from tests.gateway import Gateway, toml
from tests.sdk.limited import (
    CHAT,
    HELLO,
    RATE_HEADERS,
    Reply,
    Sender,
    about,
    answered,
    create,
    eventually,
    models,
    send,
)

IP_RPM = 5
CALL = json.dumps({"model": "even", "messages": HELLO}).encode()
BAD_KEY = "sk-" + "0" * 48
REFUSED = {
    "message": "Rate limit exceeded",
    "type": "rate_limit_error",
    "param": None,
    "code": "ip_rate_limited",
}
# method, path, body: what they are answered does not matter
ANYTHING = [
    ("GET", "/health", None),
    ("HEAD", "/health", None),
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/even", None),
    ("GET", "/v1/models/nowhere", None),
    ("GET", "/v1/key", None),
    ("GET", "/nowhere", None),
    ("DELETE", "/health", None),
    ("GET", CHAT, None),
    ("POST", CHAT, CALL),
    ("POST", CHAT, b'{"model": '),
    ("POST", "/v1/embeddings", b"{}"),
    ("POST", "/v1/completions", b"x" * 2**20),
]


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    with Vendor() as vendor:
        vendor.answers["even"] = answered(5)
        yield vendor


def limits(scope: str) -> str:
    exempt = '["198.51.100.0/24", "2001:db8:ffff::/48"]'
    return f'[limits]\nip_rpm = {IP_RPM}\nip_scope = "{scope}"\nip_exempt = {exempt}\n'


@pytest.fixture(scope="module")
def gateway(vendor: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = toml(vendor.base_url, limits("all")) + models(vendor)
    with Gateway(tmp_path_factory.mktemp("all"), config) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def open_gateway(vendor: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that counts addresses only where there is no valid key."""
    config = toml(vendor.base_url, limits("anonymous")) + models(vendor)
    with Gateway(tmp_path_factory.mktemp("anonymous"), config) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def addresses() -> Iterator[str]:
    """Addresses of this machine that nobody else uses."""
    return (f"127.0.1.{number}" for number in range(1, 255))


@pytest.fixture
def address(addresses: Iterator[str]) -> str:
    return next(addresses)


def is_refused(answer: Reply) -> bool:
    return answer.status == 429 and answer.error["code"] == "ip_rate_limited"


def passed(gateway: Gateway, senders: list[Sender]) -> int:
    """How many of these requests are not refused for their address."""
    return sum(not is_refused(send(gateway, sender, path="/health")) for sender in senders)


# What is counted


@pytest.mark.parametrize("key", [None, BAD_KEY, "mine"])
@pytest.mark.parametrize(("method", "path", "body"), ANYTHING)
def test_the_sixth_request_of_any_kind_is_refused(
    gateway: Gateway, address: str, method: str, path: str, body: bytes | None, key: str | None
) -> None:
    sender = Sender(address, key=gateway.key if key == "mine" else key)
    assert all(send(gateway, sender, method, path, body).status != 429 for _ in range(IP_RPM))
    answer = send(gateway, sender, method, path, body)
    assert answer.status == 429
    if method != "HEAD":
        assert answer.json == {"error": REFUSED}
    assert answer.headers["content-type"] == "application/json"
    assert 1 <= int(answer.headers["retry-after"]) <= 61
    assert "x-should-retry" not in answer.headers


def test_requests_of_all_kinds_count_together(gateway: Gateway, address: str) -> None:
    for method, path, body in ANYTHING[-IP_RPM:]:
        assert send(gateway, Sender(address), method, path, body).status != 429
    for method, path, body in ANYTHING:
        assert send(gateway, Sender(address, key=gateway.key), method, path, body).status == 429


def test_requests_on_one_connection_count_each(gateway: Gateway, address: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, source_address=(address, 0))
    statuses = []
    for _ in range(IP_RPM + 2):
        connection.request("GET", "/health")
        with connection.getresponse() as answer:
            answer.read()
            statuses.append(answer.status)
    connection.close()
    assert statuses == [200] * IP_RPM + [429] * 2


def test_of_many_at_once_as_many_pass_as_the_limit_says(gateway: Gateway, address: str) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: send(gateway, Sender(address), path="/health"), range(60)))
    assert sum(is_refused(answer) for answer in answers) == 60 - IP_RPM


def test_what_is_refused_takes_nothing_from_its_key(vendor: Vendor, gateway: Gateway, address: str) -> None:
    mine = create(gateway, "--rpm", "60", "--budget", "5")["key"]
    before = len(vendor.requests)
    answers = [send(gateway, Sender(address, key=mine), "POST", CHAT, CALL) for _ in range(IP_RPM + 3)]
    assert [answer.status for answer in answers] == [200] * IP_RPM + [429] * 3
    assert len(vendor.requests) == before + IP_RPM
    exempt = Sender(forwarded_for="198.51.100.7", key=mine)
    shown = send(gateway, exempt).json
    assert (shown["rpm"]["remaining"], shown["budget"]["reserved_usd"]) == (60 - IP_RPM, 0)


def test_answers_of_a_known_key_tell_its_limits_also_where_addresses_count(
    gateway: Gateway, address: str
) -> None:
    for body, status in ((CALL, 200), (b"{", 400), (b'{"model": "nowhere", "messages": []}', 400)):
        answer = send(gateway, Sender(address, key=gateway.key), "POST", CHAT, body)
        assert answer.status == status
        assert set(RATE_HEADERS) <= set(answer.headers)


# Whose it is


def test_a_trusted_proxy_says_whose_request_it_is(gateway: Gateway) -> None:
    for client in ("203.0.113.1", "203.0.113.2"):
        assert passed(gateway, [Sender(forwarded_for=f"6.6.6.{n}, {client}") for n in range(20)]) == IP_RPM


def test_a_thousand_forged_addresses_of_one_peer_stay_one(gateway: Gateway, address: str) -> None:
    rng = random.Random(1)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, source_address=(address, 0))
    statuses = []
    for _ in range(1000):
        hops = [".".join(str(rng.randrange(256)) for _ in range(4)) for _ in range(rng.randrange(1, 4))]
        connection.request("GET", "/health", headers={"X-Forwarded-For": ", ".join(hops)})
        with connection.getresponse() as answer:
            answer.read()
            statuses.append(answer.status)
    connection.close()
    assert statuses == [200] * IP_RPM + [429] * (1000 - IP_RPM)


def test_an_ipv6_network_of_64_bits_is_one_address(gateway: Gateway) -> None:
    one = [Sender(forwarded_for=f"2001:db8:1:2::{n:x}") for n in range(10)]
    other = [Sender(forwarded_for=f"[2001:db8:1:3:{n:x}::1]:443") for n in range(10)]
    assert (passed(gateway, one), passed(gateway, other)) == (IP_RPM, IP_RPM)


def test_an_ipv4_address_is_the_same_within_ipv6(gateway: Gateway) -> None:
    forms = ["203.0.113.9", "::ffff:203.0.113.9", "203.0.113.9:4711", "[::ffff:203.0.113.9]:1"] * 3
    assert passed(gateway, [Sender(forwarded_for=form) for form in forms]) == IP_RPM
    assert passed(gateway, [Sender(forwarded_for="::ffff:203.0.113.10")] * 10) == IP_RPM


def test_exempt_addresses_are_not_counted(gateway: Gateway) -> None:
    for client in ("198.51.100.7", "::ffff:198.51.100.8", "2001:db8:ffff:1::5"):
        assert passed(gateway, [Sender(forwarded_for=client)] * 12) == 12
    assert passed(gateway, [Sender("127.0.2.1", forwarded_for="198.51.100.7")] * 12) == IP_RPM


def test_clients_of_a_unix_socket_are_who_the_proxy_says(vendor: Vendor, tmp_path: Path) -> None:
    place = tmp_path / "rooya.sock"
    unix = f'[server]\nunix = "{place}"\n'
    with Gateway(tmp_path, toml(vendor.base_url, unix + limits("all")), unix=place):
        statuses = [ask_at(place, client) for client in [b"203.0.113.1"] * (IP_RPM + 1) + [b"203.0.113.2"]]
    assert statuses == [200] * IP_RPM + [429, 200]


def ask_at(place: Path, client: bytes) -> int:
    """What a proxy is answered that asks for a client."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(place))
        sock.sendall(
            b"GET /health HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: %b\r\nConnection: close\r\n\r\n" % client
        )
        return int(sock.recv(65536).split(b" ")[1])


# Only those without a valid key


@pytest.mark.parametrize(("method", "path", "body"), ANYTHING)
def test_a_valid_key_is_never_counted(
    open_gateway: Gateway, address: str, method: str, path: str, body: bytes | None
) -> None:
    sender = Sender(address, key=open_gateway.key)
    assert all(send(open_gateway, sender, method, path, body).status != 429 for _ in range(IP_RPM + 3))
    assert passed(open_gateway, [Sender(address)] * 10) == IP_RPM


@pytest.mark.parametrize("key", [None, BAD_KEY])
@pytest.mark.parametrize(("method", "path", "body"), ANYTHING)
def test_without_a_valid_key_every_request_is_counted(
    open_gateway: Gateway, address: str, method: str, path: str, body: bytes | None, key: str | None
) -> None:
    sender = Sender(address, key=key)
    statuses = [send(open_gateway, sender, method, path, body).status for _ in range(IP_RPM + 2)]
    assert 429 not in statuses[:IP_RPM] and statuses[IP_RPM:] == [429] * 2
    assert send(open_gateway, Sender(address, key=open_gateway.key)).status == 200


def test_a_key_that_has_ended_is_counted(open_gateway: Gateway, address: str) -> None:
    made = create(open_gateway)
    assert about(open_gateway, made["key"])["id"] == made["id"]
    open_gateway.run("keys", "deactivate", str(made["id"]))
    sender = Sender(address, key=made["key"])
    eventually(lambda: is_refused(send(open_gateway, sender, "POST", CHAT, CALL)), "it is never counted")


# Names


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("10.1.2.3", ""),
        ("::ffff:10.1.2.3", ""),
        ("unix", "unix"),
    ],
)
def test_an_address_is_known_by_a_name(address: str, name: str) -> None:
    names = Addresses([ip_network("10.0.0.0/8")])
    assert [names.name(address) for _ in range(2)] == [name] * 2
