"""The head of a request: request line and header fields, as bytes, checked.

llhttp (through httptools) checks the grammar of what it is fed; what it lets through although
RFC 9112 does not (or although it has no business at a gateway) is refused here by hand. Header
fields are looked up in the raw bytes when somebody asks for one: a call needs three of the twenty
that an SDK sends, and a callback per field costs more than all the look-ups together.
"""

from __future__ import annotations

from typing import Final

CRLF: Final = b"\r\n"
MAX_FIELDS: Final = 100


class BadHead(Exception):
    """A head that is refused. `reason` is a key of the error table (`malformed`, `head_too_large`)."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Head:
    """A complete request head. `raw` ends with the empty line.

    method, target: as sent. path: the target's path, still percent-encoded, without the query.
    length: the body's bytes, None where it is chunked.
    """

    __slots__ = ("_lower", "is_http11", "length", "method", "path", "raw", "target")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._lower = raw.lower()
        self._read_request_line()
        self.length = self._read_framing()

    def field(self, name: bytes) -> bytes | None:
        """The first field of that name (in lower case), without surrounding blanks; None if absent."""
        key = b"\r\n" + name + b":"
        at = self._lower.find(key)
        if at < 0:
            return None
        at += len(key)
        return self.raw[at : self.raw.find(CRLF, at)].strip(b" \t")

    def fields(self) -> list[tuple[str, str]]:
        """All fields in order, names as sent."""
        pairs = (line.split(b":", 1) for line in self.raw[:-4].split(CRLF)[1:])
        return [(name.decode("latin-1"), value.strip(b" \t").decode("latin-1")) for name, value in pairs]

    def all_of(self, name: bytes) -> list[bytes]:
        """Every value of a field that may come more than once, in order."""
        wanted = name.decode("latin-1")
        return [value.encode("latin-1") for key, value in self.fields() if key.lower() == wanted]

    def is_keep_alive(self) -> bool:
        """May the connection serve another request after this one (RFC 9112, section 9.3)?"""
        value = self.field(b"connection")
        if value is None:
            return self.is_http11
        tokens = [token.strip() for token in value.lower().split(b",")]
        return b"close" not in tokens and (self.is_http11 or b"keep-alive" in tokens)

    def expects_continue(self) -> bool:
        """Does the client wait for `100 Continue` before it sends the body?"""
        value = self.field(b"expect")
        return value is not None and self.is_http11 and value.lower() == b"100-continue"

    def for_parser(self) -> bytes:
        """What llhttp is fed: the head, its Upgrade field renamed in place where there is one.

        An upgrade would make llhttp take the body for the next protocol's bytes. No route speaks
        another protocol, so the field is ignored, as RFC 9110 section 7.8 allows.
        """
        if b"\r\nupgrade:" not in self._lower:
            return self.raw
        at = self._lower.find(b"\r\nupgrade:")
        fed = self.raw
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
        if not target.startswith("/"):
            scheme, found, rest = target.partition("://")
            if found:
                if scheme.lower() not in ("http", "https"):
                    raise BadHead("malformed", "The request target's scheme is not HTTP.")
                target = "/" + rest.partition("/")[2]
            elif not (target == "*" and self.method == "OPTIONS") and self.method != "CONNECT":
                raise BadHead("malformed", "The request target is malformed.")
        return target.partition("?")[0].partition("#")[0]

    def _read_framing(self) -> int | None:
        lower = self._lower
        if lower.count(CRLF) > MAX_FIELDS + 2:
            raise BadHead("head_too_large", "The request has too many header fields.")
        hosts = lower.count(b"\r\nhost:")
        if hosts > 1 or (self.is_http11 and not hosts):
            raise BadHead("malformed", "The request must have exactly one Host header.")
        length = self.field(b"content-length")
        coding = self.field(b"transfer-encoding")
        if coding is None:
            if length is None:
                return 0
            if not length.isdigit() or len(length) > 18 or lower.count(b"\r\ncontent-length:") != 1:
                raise BadHead("malformed", "The Content-Length header is malformed.")
            return int(length)
        if length is not None:
            raise BadHead("malformed", "Content-Length and Transfer-Encoding exclude each other.")
        if not self.is_http11 or coding.lower() != b"chunked" or lower.count(b"\r\ntransfer-encoding:") != 1:
            raise BadHead("malformed", "The only transfer coding understood is 'chunked', in HTTP/1.1.")
        return None


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
