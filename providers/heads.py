"""The head of a vendor's answer as bytes, for those who ask for more than llhttp has told.

It reads nothing that llhttp has not checked before: no folded lines, no bare LF.
"""

from __future__ import annotations


def head_length(data: bytes) -> int:
    """Where the head of the final answer ends, in bytes that hold all of it and the interim ones before."""
    end = start = 0
    while True:
        while data.startswith((b"\r", b"\n"), start):  # llhttp skips empty lines before a status line
            start += 1
        end = data.index(b"\r\n\r\n", start) + 4
        if not data.startswith(b"1", start + len("HTTP/1.1 ")):
            return end
        start = end


def parse_fields(head: bytes) -> dict[bytes, bytes]:
    """The header fields of the final answer in `head`."""
    block = head[: head_length(head) - 4]
    fields: dict[bytes, bytes] = {}
    for line in block[block.rfind(b"\r\n\r\n") + 1 :].lstrip().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        name = name.lower()
        value = value.strip(b" \t")
        fields[name] = fields[name] + b", " + value if name in fields else value
    return fields
