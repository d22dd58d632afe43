"""A target dies under 200 concurrent calls: nobody hears of it, nor waits much longer than one time-out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import pytest

from tests.fakes.vendor import Vendor, reply
from tests.gateway import CONTENT, VENDOR_SECRET, Gateway

CLIENTS: Final = 200
CONNECT_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 0.5  # between a client's calls
BEFORE, AFTER = 1.0, 4.0  # seconds of calls, before the death and after it
ANSWER: Final = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


class Mortal:
    """A vendor that answers until it dies as a machine does: open connections are cut, new ones hang."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(1024)
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self.served = 0
        self._open: set[socket.socket] = set()
        self._is_dead = False
        self._crowd: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.die()
        self._socket.close()
        for thread in self._threads:
            thread.join(10)
        for each in (*self._crowd, *self._open):  # what was never accepted has no thread to close it
            each.close()

    def die(self) -> None:
        """Cut all and take no more: the kernel drops what finds the queue full."""
        if self._is_dead:
            return
        self._is_dead = True
        socket.create_connection(self._socket.getsockname()).close()  # wakes `accept`
        self._threads[0].join(10)
        self._socket.listen(0)
        self._socket.setblocking(False)
        while not self._has_own():  # else it was a caller that took the queue's one place
            self._open |= set(self._waiting())
            self._crowd.append(socket.socket())
            self._crowd[-1].setblocking(False)
            self._crowd[-1].connect_ex(self._socket.getsockname())
        for each in list(self._open):
            with contextlib.suppress(OSError):  # it has closed itself meanwhile
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.shutdown(socket.SHUT_RDWR)

    def _has_own(self) -> bool:
        """Is the last of our own connections in the queue?"""
        return bool(self._crowd and select.select([], [self._crowd[-1]], [], 0.05)[1])

    def _waiting(self) -> Iterator[socket.socket]:
        """Connections that nobody has accepted yet."""
        with contextlib.suppress(BlockingIOError):
            while True:
                yield self._socket.accept()[0]

    def _start(self, run: object, *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._is_dead:
            accepted, _ = self._socket.accept()
            self._open.add(accepted)
            self._start(self._serve, accepted)

    def _serve(self, connection: socket.socket) -> None:
        body = json.dumps(ANSWER).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        with connection, connection.makefile("rb") as lines:
            try:
                while (line := lines.readline()) and not self._is_dead:
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                    if line == b"\r\n":
                        lines.read(length)
                        time.sleep(0.05)  # so that some are under way when it dies
                        if self._is_dead:
                            return
                        connection.sendall(head + body)
                        self.served += 1
            except OSError:
                pass
            finally:
                self._open.discard(connection)


@pytest.fixture
def mortal() -> Iterator[Mortal]:
    with Mortal() as mortal:
        yield mortal


def test_a_target_that_dies_under_200_calls_is_noticed_by_none(tmp_path: Path, mortal: Mortal) -> None:
    with Vendor() as heir:
        heir.answers["m"] = reply(ANSWER)
        providers = "".join(
            f'[[providers]]\nname = "{name}"\nkind = "openai_compatible"\nbase_url = "{url}"\n'
            f'api_keys = ["{VENDOR_SECRET}"]\n'
            for name, url in (("mortal", mortal.base_url), ("heir", heir.base_url))
        )
        targets = ", ".join(
            f'{{ provider = "{name}", model = "m", priority = {at + 1} }}'
            for at, name in enumerate(("mortal", "heir"))
        )
        settings = (
            f"[limits]\nip_rpm = 0\n[timeouts]\nconnect_s = {CONNECT_SECONDS}\n{providers}"
            f'[[models]]\nid = "m"\ntargets = [{targets}]\n'
        )
        with Gateway(tmp_path, settings) as gateway:
            calls = asyncio.run(crowd(gateway, mortal))
    by_heir = [took for took, who in calls if who == b"heir"]
    assert {who for _, who in calls} == {b"mortal", b"heir"} and len(by_heir) > 2 * CLIENTS
    slow = sorted(took for took, _ in calls)
    p99 = slow[int(len(slow) * 0.99)]
    print(f"{len(calls)} calls, p99 {p99 / CONNECT_SECONDS:.2f} x the connect time-out")
    assert p99 < 1.5 * CONNECT_SECONDS


async def crowd(gateway: Gateway, mortal: Mortal) -> list[tuple[float, bytes]]:
    """How long each call took, and who served it. Fails where one is not answered."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": CONTENT}]})
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    loop = asyncio.get_running_loop()
    start = loop.time()

    async def client(number: int) -> list[tuple[float, bytes]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        calls = []
        await asyncio.sleep(PAUSE_SECONDS * number / CLIENTS)
        while loop.time() < start + BEFORE + AFTER:
            began = loop.time()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            answer = await reader.readexactly(int(fields[b"content-length"]))
            assert head.startswith(b"HTTP/1.1 200"), (head, answer)
            calls.append((loop.time() - began, fields[b"x-rooya-provider"]))
            await asyncio.sleep(PAUSE_SECONDS)
        writer.close()
        await writer.wait_closed()
        return calls

    async def kill() -> None:
        await asyncio.sleep(BEFORE)
        await asyncio.to_thread(mortal.die)

    *found, _ = await asyncio.gather(*map(client, range(CLIENTS)), kill())
    return [call for calls in found for call in calls or ()]
