"""The head of a request: request line and header fields, as bytes, checked.

llhttp (through httptools) checks the grammar of what it is fed; what it lets through although
RFC 9112 does not (or although it has no business at a gateway) is refused here by hand. The fields
that decide framing are found in one pass over the raw bytes, others when somebody asks: a call
needs four of the twenty that an SDK sends, and a callback per field costs more than all of that.
"""

from __future__ import annotations

import re
from typing import Final

CRLF: Final = b"\r\n"
MAX_FIELDS: Final = 100  # in a head of over 1 KB; a smaller one cannot hold many more
FRAMING: Final = re.compile(
    rb"\r\n(host|content-length|transfer-encoding|connection|expect|upgrade):([^\r]*)"
)


class BadHead(Exception):
    """A head that is refused. `reason` is a key of the error table (`malformed`, `head_too_large`)."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Head:
    """A complete request head. `raw` ends with the empty line.

    method, target: as sent. path: the target's path, still percent-encoded, without the query.
    length: the body's bytes, None where it is chunked. keep_alive: may the connection serve another
    request (RFC 9112, section 9.3)? expects_continue: does the client wait for `100 Continue`?
    """

    __slots__ = (
        "_has_upgrade",
        "_lower",
        "expects_continue",
        "is_http11",
        "keep_alive",
        "length",
        "method",
        "path",
        "raw",
        "target",
    )

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._lower = raw.lower()
        self._read_request_line()
        self._read_fields()

    def field(self, name: bytes) -> bytes | None:
        """The first field of that name (in lower case), without surrounding blanks; None if absent."""
        key = b"\r\n" + name + b":"
        at = self._lower.find(key)
        if at < 0:
            return None
        at += len(key)
        return self.raw[at : self.raw.find(CRLF, at)].strip(b" \t")

    def occurs_again(self, name: bytes) -> bool:
        """Is there more than one field of that name (in lower case)?"""
        return self._lower.count(b"\r\n" + name + b":") > 1

    def fields(self) -> list[tuple[str, str]]:
        """All fields in order, names as sent."""
        pairs = (line.split(b":", 1) for line in self.raw[:-4].split(CRLF)[1:])
        return [(name.decode("latin-1"), value.strip(b" \t").decode("latin-1")) for name, value in pairs]

    def all_of(self, name: bytes) -> list[bytes]:
        """Every value of a field that may come more than once, in order."""
        wanted = name.decode("latin-1")
        return [value.encode("latin-1") for key, value in self.fields() if key.lower() == wanted]

    def for_parser(self) -> bytes:
        """What llhttp is fed: the head, with two fields renamed in place where they would mislead it.

        Content-Length: a counted body is cut off by its count, so llhttp need not see it and the head is a
        whole request. Upgrade: llhttp would take the body for the next protocol's bytes; no route speaks
        another protocol, so the field is ignored, as RFC 9110 section 7.8 allows.
        """
        fed = self.raw
        if self.length:
            at = self._lower.find(b"\r\ncontent-length:")
            fed = fed[: at + 2] + b"x" + fed[at + 3 :]
        if self._has_upgrade:
            at = self._lower.find(b"\r\nupgrade:")
            while at >= 0:
                fed = fed[: at + 2] + b"x" + fed[at + 3 :]
                at = self._lower.find(b"\r\nupgrade:", at + 1)
        return fed

    def _read_request_line(self) -> None:
        parts = self.raw[: self.raw.index(CRLF)].split(b" ")
        if len(parts) != 3:
            raise BadHead("malformed", "The request line is malformed.")
        method, target, version = parts
        if version == b"HTTP/1.1":
            self.is_http11 = True
        elif version == b"HTTP/1.0":
            self.is_http11 = False
        else:
            raise BadHead("malformed", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
        if not target.isascii():
            raise BadHead("malformed", "The request target must be ASCII.")
        self.method = method.decode("latin-1")
        self.target = target.decode("ascii")
        self.path = self._path_of(self.target)

    def _path_of(self, target: str) -> str:
        """Origin form as it is, absolute form without its authority, `*` and authority forms whole."""
        if target[:1] != "/":
            scheme, found, rest = target.partition("://")
            if found:
                if scheme.lower() not in ("http", "https"):
                    raise BadHead("malformed", "The request target's scheme is not HTTP.")
                target = "/" + rest.partition("/")[2]
            elif not (target == "*" and self.method == "OPTIONS") and self.method != "CONNECT":
                raise BadHead("malformed", "The request target is malformed.")
        return target if "?" not in target and "#" not in target else re.split("[?#]", target, maxsplit=1)[0]

    def _read_fields(self) -> None:
        """One pass for all that frames the message. Values are in lower case, which none of them minds."""
        if len(self.raw) > 1024 and self.raw.count(CRLF) > MAX_FIELDS + 2:
            raise BadHead("head_too_large", "The request has too many header fields.")
        hosts = 0
        lengths: list[bytes] = []
        codings: list[bytes] = []
        connection = b""
        self._has_upgrade = self.expects_continue = False
        for name, value in FRAMING.findall(self._lower):
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                lengths.append(value.strip(b" \t"))
            elif name == b"connection":
                connection += value + b","
            elif name == b"transfer-encoding":
                codings.append(value.strip(b" \t"))
            elif name == b"expect":
                self.expects_continue = self.is_http11 and value.strip(b" \t") == b"100-continue"
            else:
                self._has_upgrade = True
        if hosts > 1 or (self.is_http11 and not hosts):
            raise BadHead("malformed", "The request must have exactly one Host header.")
        self.length = self._framing(lengths, codings)
        self.keep_alive = self.is_http11 if not connection else self._is_kept(connection)

    def _framing(self, lengths: list[bytes], codings: list[bytes]) -> int | None:
        if codings:
            if lengths:
                raise BadHead("malformed", "Content-Length and Transfer-Encoding exclude each other.")
            if codings != [b"chunked"] or not self.is_http11:
                raise BadHead("malformed", "The only transfer coding understood is 'chunked', in HTTP/1.1.")
            return None
        if not lengths:
            return 0
        if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 18:
            raise BadHead("malformed", "The Content-Length header is malformed.")
        return int(lengths[0])

    def _is_kept(self, connection: bytes) -> bool:
        tokens = [token.strip(b" \t") for token in connection.split(b",")]
        return b"close" not in tokens and (self.is_http11 or b"keep-alive" in tokens)


def check_beginning(data: bytes) -> None:
    """Refuse what can no longer become a head although it has no end yet: HTTP/0.9, bare LF, binary.

    Raises BadHead. Without this such a client would be kept waiting for its time-out.
    """
    line, found, _ = data.partition(b"\n")
    if not found:
        if data[:1] and not data[:1].isalpha() and data[:1] != b"\r":
            raise BadHead("malformed", "This is not an HTTP request.")
        return
    if not line.endswith(b"\r") or data.count(b"\n") != data.count(CRLF):
        raise BadHead("malformed", "Lines must end with CR LF.")
    if line != b"\r" and not line.endswith((b" HTTP/1.1\r", b" HTTP/1.0\r")):
        raise BadHead("malformed", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
