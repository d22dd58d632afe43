"""Events are found in whatever pieces they arrive (R-17), in linear time and bounded memory."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import sse
from providers.sse import EventTooLarge, Splitter

STREAMS = {
    "LF": b"data: a\n\ndata: b\n\n",
    "CRLF": b"data: a\r\n\r\ndata: b\r\n\r\n",
    "CR": b"data: a\r\rdata: b\r\r",
    "mixed": b"data: a\r\n\ndata: b\n\r\n",
    "more mixed": b"data: a\n\rdata: b\r\n\r",
    "comments": b": hi\n\ndata: a\n\n:\n\n: ping\ndata: b\n\n",
    "names and ids": b"event: x\nid: 1\nretry: 5\ndata: a\n\nevent: y\ndata:b\n\n",
    "blank lines between": b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n",
    "byte order mark": b"\xef\xbb\xbfdata: a\n\ndata: b\n\n",
    "byte order mark, blank": b"\xef\xbb\xbf\r\ndata: a\r\n\r\ndata: b\r\n\r\n",
    "unknown fields": b"datax: q\nfoo\ndata: a\n\ndata: b\nbar: data: c\n\n",
}


def feed_all(splitter: Splitter, pieces: list[bytes]) -> list[bytes]:
    return [block for piece in pieces for block in splitter.feed(piece)]


def in_two(data: bytes) -> list[list[bytes]]:
    return [[data[:at], data[at:]] for at in range(len(data) + 1)]


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("name", STREAMS)
def test_the_same_events_come_out_of_every_cut(name: str) -> None:
    data = STREAMS[name]
    for pieces in [*in_two(data), one_by_one(data)]:
        splitter = Splitter()
        blocks = feed_all(splitter, pieces)
        assert [event for block in blocks for event in sse.events(block)] == [b"a", b"b"], pieces
        assert b"".join(blocks) + splitter.rest() == data.removeprefix(b"\xef\xbb\xbf")
        assert not splitter.rest()


@given(
    st.lists(
        st.sampled_from([b"data: a", b"\r", b"\n", b"\r\n", b": c", b"x", b"data:\xc3\xa9"]), max_size=30
    )
)
def test_no_cut_changes_the_events(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    outcomes = set()
    for cut in ([data], one_by_one(data), pieces):
        splitter = Splitter()
        blocks = feed_all(splitter, cut)
        assert b"".join(blocks) + splitter.rest() == data
        outcomes.add(tuple(event for block in blocks for event in sse.events(block)))
    assert len(outcomes) == 1


def test_what_arrives_together_stays_together() -> None:
    data = b"data: a\n\ndata: b\r\n\r\n: c\n\n"
    assert Splitter().feed(data) == [data]


def test_an_event_waits_for_its_end_and_no_longer() -> None:
    splitter = Splitter()
    assert splitter.feed(b"data: a\n\ndata: b") == [b"data: a\n\n"]
    assert splitter.rest() == b"data: b"
    assert splitter.feed(b"c\n") == []
    assert splitter.feed(b"\ndata: d\n\n") == [b"data: bc\n\ndata: d\n\n"]


def test_an_event_that_ends_with_a_bare_cr_is_not_held_back() -> None:
    splitter = Splitter()
    assert splitter.feed(b"data: a\r\n\r") == [b"data: a\r\n\r"]
    assert splitter.feed(b"\ndata: b\r\n\r\n") == [b"\ndata: b\r\n\r\n"]


def test_a_crlf_cut_in_its_middle_ends_no_event() -> None:
    splitter = Splitter()
    assert splitter.feed(b"data: a\r") == []
    assert splitter.feed(b"\ndata: b\r\n") == []
    assert sse.events(splitter.feed(b"\r\n")[0]) == [b"a\nb"]


def test_a_mark_is_only_removed_at_the_start() -> None:
    splitter = Splitter()
    assert splitter.feed(b"\xef\xbb") == []
    assert splitter.feed(b"\xbfdata: a\n\n") == [b"data: a\n\n"]
    assert splitter.feed(b"\xef\xbb\xbfdata: b\n\n") == [b"\xef\xbb\xbfdata: b\n\n"]


def test_half_a_mark_is_kept_as_it_came() -> None:
    splitter = Splitter()
    assert splitter.feed(b"\xef") == []
    assert splitter.feed(b"x\n\n") == [b"\xefx\n\n"]


@pytest.mark.parametrize("piece_bytes", [1, 7, 4096, 400_000])
def test_a_large_event_in_small_pieces_takes_linear_time(piece_bytes: int) -> None:
    event = b"data: " + b"x" * 300_000 + b"\n\n"
    splitter = Splitter()
    start = time.process_time()
    blocks = feed_all(splitter, [event[at : at + piece_bytes] for at in range(0, len(event), piece_bytes)])
    assert blocks == [event]
    assert time.process_time() - start < 3  # quadratic would be minutes at one byte


def test_an_event_without_bound_is_refused() -> None:
    splitter = Splitter(max_event_bytes=100)
    assert splitter.feed(b"data: " + b"x" * 94) == []
    with pytest.raises(EventTooLarge):
        splitter.feed(b"x")


def test_many_events_may_be_more_than_the_bound() -> None:
    splitter = Splitter(max_event_bytes=100)
    assert splitter.feed(b"data: a\n\n" * 50 + b"data") == [b"data: a\n\n" * 50]


def test_data_lines_are_joined_and_lose_one_blank() -> None:
    assert sse.events(b"data: a\ndata:b\ndata:  c\ndata\n\n") == [b"a\nb\n c\n"]


def test_a_block_is_split_into_its_events_byte_for_byte() -> None:
    parts = [b"data: a\r\n\r\n", b": c\n\n", b"data: b\rdata: c\r\r", b"event: x\ndata: d\n\n\n"]
    assert sse.split(b"".join(parts)) == parts


def test_an_event_without_its_end_is_still_one() -> None:
    assert sse.split(b"data: a\n\ndata: b\n") == [b"data: a\n\n", b"data: b\n"]
    assert sse.events(b"data: [DONE]") == [b"[DONE]"]


def test_the_name_of_an_event() -> None:
    assert sse.name(b"event: error\r\ndata: {}\r\n\r\n") == b"error"
    assert sse.name(b"data: event: error\n\n") == b""
