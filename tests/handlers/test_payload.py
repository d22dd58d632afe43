"""Strict JSON: what RFC 8259 forbids is refused, what it allows is read as the standard library reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.payload import InvalidJSON, is_verbatim, parse

REFUSED = {
    "empty": b"",
    "blank": b" \n",
    "an array": b"[]",
    "a string": b'"a"',
    "null": b"null",
    "not UTF-8": b'{"a":"\xff"}',
    "overlong UTF-8": b'{"a":"\xc0\x80"}',
    "an encoded surrogate": b'{"a":"\xed\xa0\x80"}',
    "beyond Unicode": b'{"a":"\xf4\x90\x80\x80"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "-Infinity": b'{"a":-Infinity}',
    "nan": b'{"a":nan}',
    "overflow": b'{"a":1e400}',
    "negative overflow": b'{"a":-1e400}',
    "overflow with a fraction": b'{"a":1.5E999}',
    "a leading zero": b'{"a":01}',
    "two zeros": b'{"a":00}',
    "a negative leading zero": b'{"a":-01}',
    "a plus": b'{"a":+1}',
    "no digit before the point": b'{"a":.5}',
    "no digit behind the point": b'{"a":1.}',
    "no digit behind the point, exponent": b'{"a":1.e5}',
    "no exponent": b'{"a":1e}',
    "a lone minus": b'{"a":-}',
    "hexadecimal": b'{"a":0x10}',
    "underscores": b'{"a":1_0}',
    "4,301 digits": b'{"a":' + b"9" * 4301 + b"}",
    "a raw newline in a string": b'{"a":"\n"}',
    "a raw tab in a string": b'{"a":"\t"}',
    "a raw NUL in a string": b'{"a":"\x00"}',
    "a raw control character in a key": b'{"\x01a":1}',
    "a NUL behind the end": b'{"a":1}\x00',
    "a form feed between tokens": b'{"a":\x0c1}',
    "a no-break space between tokens": b'{"a":\xc2\xa01}',
    "an unknown escape": b'{"a":"\\x41"}',
    "a short escape": b'{"a":"\\u12"}',
    "a lone high surrogate": b'{"a":"\\ud800"}',
    "a lone low surrogate": b'{"a":"\\udc00"}',
    "surrogates in the wrong order": b'{"a":"\\ude00\\ud83d"}',
    "a lone surrogate in a key": b'{"\\uD800":1}',
    "a lone surrogate deep inside": b'{"a":[{"b":["\\uDBFF"]}]}',
    "a trailing comma": b'{"a":1,}',
    "a trailing comma in an array": b'{"a":[1,]}',
    "single quotes": b"{'a':1}",
    "a bare key": b"{a:1}",
    "a number as a key": b"{1:2}",
    "a comment": b'{"a":1/**/}',
    "no colon": b'{"a" 1}',
    "no comma": b'{"a":1 "b":2}',
    "cut off": b'{"a":',
    "an open string": b'{"a":"',
    "text behind the end": b'{"a":1}x',
    "another object behind the end": b'{"a":1} {}',
    "a doubled key": b'{"model":"a","model":"b"}',
    "a doubled key, once escaped": b'{"model":"a","mod\\u0065l":"b"}',
    "a doubled key deep inside": b'{"messages":[{"content":"a","content":"b"}]}',
    "depth 513": b'{"a":' + b"[" * 512 + b"]" * 512 + b"}",
    "depth 600 of objects": b'{"a":' * 600 + b"1" + b"}" * 600,
    "100,000 open brackets": b'{"a":' + b"[" * 100_000,
    "100,000 closed brackets": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 open objects": b'{"a":' * 100_000,
}

ALLOWED = {
    "NaN in a string": b'{"a":"NaN Infinity 01 1."}',
    "pretty": b'\n{\r\n\t"a" : [ 1 , 2.5e-3 , true , null ]\n}\n',
    "escapes": b'{"a":"\\u00e9 \\n \\" \\\\ \\/ \\ud83d\\ude00"}',
    "an escaped backslash before ud800": b'{"a":"\\\\ud800"}',
    "raw UTF-8": '{"a":"é 😀"}'.encode(),
    "a big integer": b'{"a":' + b"9" * 4300 + b"}",
    "underflow": b'{"a":1e-400}',
    "minus zero": b'{"a":-0}',
    "depth 512": b'{"a":' + b"[" * 511 + b"]" * 511 + b"}",
    "one key in two objects": b'{"a":[{"b":1},{"b":2}]}',
    "many shallow arrays": b'{"a":[' + b"[]," * 2000 + b"[]]}",
    "DEL in a string": b'{"a":"\x7f"}',
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_json_object_is_refused_in_words(body: bytes) -> None:
    with pytest.raises(InvalidJSON) as refused:
        parse(body)
    assert refused.value.message.endswith(".")
    assert len(refused.value.message) < 100


@pytest.mark.parametrize("body", ALLOWED.values(), ids=ALLOWED.keys())
def test_what_is_allowed_is_read_as_it_stands(body: bytes) -> None:
    assert parse(body) == json.loads(body)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES), st.booleans())
def test_any_object_survives(value: dict[str, Any], escaped: bool) -> None:
    try:
        body = json.dumps(value, ensure_ascii=escaped).encode()
    except UnicodeEncodeError:
        return
    if escaped and any(0xD800 <= ord(char) < 0xE000 for char in json.dumps(value, ensure_ascii=False)):
        with pytest.raises(InvalidJSON):
            parse(body)
    else:
        assert parse(body) == value


@given(st.binary(max_size=60))
@settings(max_examples=300)
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    for body in (noise, b'{"a":' + noise + b"}", b'{"a":"' + noise + b'"}'):
        try:
            payload = parse(body)
        except InvalidJSON:
            continue
        assert payload == json.loads(body)


@pytest.mark.parametrize(
    ("body", "verbatim"),
    [
        (b'{"model":"a"}', True),
        (b'{"model":"\\u00e9\\n"}', True),
        (b'{"mod\\u0065l":"a"}', False),
        (b'{"\\u006dodel":"a"}', False),
        (b'{"a":"\\\\u0065"}', False),  # harmless, and not worth telling apart
    ],
)
def test_bytes_are_spliced_only_where_no_ascii_is_escaped(body: bytes, verbatim: bool) -> None:
    assert is_verbatim(body) is verbatim


def test_a_refusal_repeats_nothing_of_the_body() -> None:
    with pytest.raises(InvalidJSON) as refused:
        parse(b'{"a": secret-content}')
    assert "secret" not in refused.value.message
