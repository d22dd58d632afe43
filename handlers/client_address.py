"""Whose request is it? The right-most hop of X-Forwarded-For that no trusted proxy vouches against.

Everything left of that hop was written by somebody we do not trust, so a client can put there what
it likes without becoming somebody else. A peer on a unix socket is this machine's own nginx: trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

UNIX_PEER: Final = "unix"
MAX_REMEMBERED_BYTES: Final = 256
MOST_REMEMBERED: Final = 4096  # then forgotten all at once, at a fifth of the time that an LRU list takes


class ClientAddresses:
    """Finds a request's client address. trusted: networks of the proxies whose word counts."""

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._trusted = tuple(trusted)
        self._known: dict[tuple[str, bytes | None], str] = {}

    def find(self, peer: str, forwarded_for: bytes | None) -> str:
        """peer: the socket's other end, or UNIX_PEER. forwarded_for: all values, joined by commas."""
        if forwarded_for is not None and len(forwarded_for) > MAX_REMEMBERED_BYTES:
            return self._walk(peer, forwarded_for)
        asked = (peer, forwarded_for)
        found = self._known.get(asked)
        if found is None:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            found = self._known[asked] = self._walk(peer, forwarded_for)
        return found

    def is_trusted(self, peer: str) -> bool:
        """Is the socket's other end a proxy whose X-Forwarded-… counts?"""
        if peer == UNIX_PEER:
            return True
        address = ip_address(peer.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._trusted)

    def _walk(self, peer: str, forwarded_for: bytes | None) -> str:
        client = peer
        for hop in reversed(forwarded_for.split(b",") if forwarded_for else []):
            if not self.is_trusted(client):
                break
            address = _address_of(hop)
            if address is None:
                break
            client = str(address)
        return client


def _address_of(hop: bytes) -> IPv4Address | IPv6Address | None:
    """One hop as proxies write it: an address, perhaps in brackets, perhaps with a port."""
    text = hop.strip().strip(b'"').decode("latin-1")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return ip_address(text)
    except ValueError:
        return None
