"""A fake vendor on a real port: replays bytes at a chosen pace, or misbehaves at the byte level.

It runs in a thread with a loop of its own. What it answers is chosen by the request's `model`, or its path;
what it received is kept, reads (GET) apart from calls. It knows nothing of any API.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

JSON = (("Content-Type", "application/json"),)
SSE = (("Content-Type", "text/event-stream"),)


@dataclass
class Answer:
    """pieces: bytes to send in order, each in a write of its own; a float is a pause in seconds, an Event is
    waited for. framing: length, chunked or close. end: clean, reset (RST), cut (FIN too early), hang (with no
    pieces: before the head).
    """

    pieces: Iterable[bytes | float | threading.Event] = ()
    status: int = 200
    headers: tuple[tuple[str, str], ...] = JSON
    framing: str = "length"
    end: str = "clean"
    raw: bytes | None = None  # instead of all of that


def reply(body: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = JSON, **more: Any) -> Answer:
    """A whole body: bytes as they are, anything else as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer([data], status, headers, **more)


def stream(*pieces: bytes | float | threading.Event, end: str = "clean", framing: str = "chunked") -> Answer:
    """Server-sent events, in the pieces given."""
    return Answer(pieces, 200, SSE, framing, end)


@dataclass
class Request:
    """What arrived. gone_at: when (time.monotonic) the caller closed before the answer's end."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    sent_bytes: int = 0
    gone_at: float | None = None
    arrived_at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Vendor:
    """`with Vendor() as vendor:`; `vendor.answers[model]` is an Answer or a list of them, one a request."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | list[Answer]] = {}
        self.requests: list[Request] = []
        self.reads: list[Request] = []
        self.port = 0
        self.connections = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stop: asyncio.Event | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def clear(self) -> None:
        """Forget what was received and scripted."""
        self.answers.clear()
        self.requests.clear()
        self.reads.clear()

    def last(self) -> Request:
        return self.requests[-1]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0, limit=2**26)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._converse(Caller(reader, writer, self.connections))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _converse(self, caller: Caller) -> None:
        while (request := await caller.read_request()) is not None:
            (self.reads if request.method == "GET" else self.requests).append(request)
            if not await caller.send(request, self._answer(request)):
                return

    def _answer(self, request: Request) -> Answer:
        try:
            model = json.loads(request.body)["model"]
        except (ValueError, KeyError, TypeError):
            model = request.path
        found = self.answers.get(model)
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        return found or reply({"error": {"message": f"nothing is scripted for {model}"}}, 404)


class Caller:
    """One connection to the fake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        self._ahead: asyncio.Task[bytes] | None = None

    async def read_request(self) -> Request | None:
        first = await self._ahead if self._ahead is not None else await self.reader.read(1)
        self._ahead = None
        if not first:
            return None
        head = first + await self.reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Request(method, path, headers, body, self.number)

    async def send(self, request: Request, answer: Answer) -> bool:
        """True if the connection may serve another request."""
        self._ahead = asyncio.ensure_future(self.reader.read(1))
        self._ahead.add_done_callback(lambda task: _note_gone(task, request))
        if answer.raw is not None:
            self.writer.write(answer.raw)
            await self.writer.drain()
            return False
        if answer.end != "hang" or answer.pieces:
            self.writer.write(_head(answer))
        for piece in answer.pieces:
            if not await self._send_piece(request, answer, piece):
                return False
        if answer.end == "hang":
            await asyncio.wait([self._ahead])
        if answer.end == "reset":
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.writer.transport.abort()
        if answer.end != "clean":
            return False
        if answer.framing == "chunked":
            self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()
        return answer.framing != "close"

    async def _send_piece(
        self, request: Request, answer: Answer, piece: bytes | float | threading.Event
    ) -> bool:
        assert self._ahead is not None
        if isinstance(piece, threading.Event):
            while not piece.is_set():
                await asyncio.sleep(0.002)
        elif isinstance(piece, float):
            await asyncio.wait([self._ahead], timeout=piece)
        else:
            self.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.framing == "chunked" else piece)
            await self.writer.drain()
            request.sent_bytes += len(piece)
        return not self._ahead.done()


def _note_gone(task: asyncio.Task[bytes], request: Request) -> None:
    if not task.cancelled() and (task.exception() is not None or not task.result()):
        request.gone_at = time.monotonic()


def _head(answer: Answer) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} Whatever", *(f"{k}: {v}" for k, v in answer.headers)]
    if answer.framing == "length":
        answer.pieces = list(answer.pieces)
        lines.append(f"Content-Length: {sum(len(p) for p in answer.pieces if isinstance(p, bytes))}")
    elif answer.framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
    else:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def halves(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The data cut in two at every place."""
    return ((data[:at], data[at:]) for at in range(1, len(data)))
