"""Strict JSON: what RFC 8259 forbids is refused, what it allows is read as the standard library reads it."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from math import isfinite
from typing import Any

import pytest
import ujson
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.payload import MAX_NODES, InvalidJSON, is_verbatim, parse

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
    "a byte order mark of UTF-16": '\ufeff{"a":1}'.encode("utf-16-le"),
    "a bare word": b'{"a":undefined}',
    "a capital literal": b'{"a":True}',
    "two minuses": b'{"a":--1}',
    "an exponent of nothing but a sign": b'{"a":1e+}',
    "full-width digits": '{"a":\uff11}'.encode(),
    "a comma first": b'{,"a":1}',
    "two commas": b'{"a":1,,"b":2}',
    "a colon too many": b'{"a"::1}',
    "brackets that do not match": b'{"a":[1}]',
    "a backslash at the end": b'{"a":"\\',
    "an escaped quote at the end": b'{"a":"\\"}',
    "a line comment": b'{"a":1} // x',
    "two highs": b'{"a":"\\ud83d\\ud83d\\ude00"}',
    "a pair torn by a letter": b'{"a":"\\ud83dx\\ude00"}',
    "a pair torn by an escaped backslash": b'{"a":"\\ud83d\\\\ude00"}',
    "a low behind an escaped backslash": b'{"a":"\\\\ud83d\\ude00"}',
    "too many arrays": b'{"a":[' + b"[]," * MAX_NODES + b"[]]}",
    "too many objects": b'{"a":[' + b"{}," * MAX_NODES + b"{}]}",
    "one node too many": b'{"a":[' + b"[]," * (MAX_NODES - 3) + b"[]]}",
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
    "the empty object": b"{}",
    "an empty key": b'{"":""}',
    "blanks around": b" \t\r\n{} \t\r\n",
    "tabs and newlines between tokens": b'{\n\t"a"\t:\n[\t]\n}',
    "U+2028 and a byte order mark in a string": '{"a":"\u2028\ufeff"}'.encode(),
    "the last code point": b'{"a":"\\udbff\\udfff"}',
    "an escaped NUL": b'{"a":"\\u0000"}',
    "a pair deep inside": b'{"a":' + b"[" * 511 + b'"\\ud83d\\ude00"' + b"]" * 511 + b"}",
    "brackets in strings": b'{"a":"' + b'[{\\"' * 600 + b'"}',
    "the largest double": b'{"a":1.7976931348623157e308,"b":-5e-324,"c":1E+2}',
    "more marks than nodes are allowed": b'{"a":"' + b'[{:\\"' * MAX_NODES + b'"}',
    "as many nodes as are allowed, and marks in a key": b'{"[{:":[' + b"[]," * (MAX_NODES - 4) + b"[]]}",
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


# RFC 8259 once more, in another way: tokens by a regular expression, then the grammar by rewriting.
LEXEME = re.compile(
    rb"[ \t\n\r]*(?:(?P<mark>[][{},:])"
    rb'|(?P<string>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")'
    rb"|(?P<value>true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?))[ \t\n\r]*"
)
ARRAY = re.compile(r"\[(?:[sov](?:,[sov])*)?\]")
OBJECT = re.compile(r"\{(?:s:[sov](?:,s:[sov])*)?\}")


def is_grammatical(body: bytes) -> bool:
    at, shape = 0, ""
    while at < len(body):
        lexeme = LEXEME.match(body, at)
        if lexeme is None:
            return False
        at = lexeme.end()
        kind = lexeme.lastgroup or ""
        shape += lexeme["mark"].decode() if kind == "mark" else kind[0]
    before = ""
    while before != shape:
        before, shape = shape, OBJECT.sub("o", ARRAY.sub("v", shape))
    return shape == "o"


def is_acceptable(body: bytes) -> bool:
    """Grammatical, and without what the grammar alone cannot see. The body is neither deep nor long."""
    if not is_grammatical(body):
        return False
    seen: list[bool] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        seen.append(len({name for name, _ in pairs}) == len(pairs))

    try:
        text = body.decode()
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeError:
        return False
    json.loads(text, object_pairs_hook=note, parse_float=lambda digits: seen.append(isfinite(float(digits))))
    return all(seen)


SEEDS = [body for body in ALLOWED.values() if len(body) < 100] + [
    b'{"model": "m", "messages": [{"role": "user", "content": "say \\"model\\""}], "n": 1, "stream": true}',
    b'{"a":-0.5e+1,"b":[1,2.25,[],{}],"c":null,"d":false,"e":"\\ud83d\\ude00\\u00e9","f":{"a":{"a":[0]}}}',
]
FRAGMENTS = [bytes([byte]) for byte in range(256)] + [
    *(
        b"NaN",
        b"Infinity",
        b"-",
        b"+",
        b".",
        b"e",
        b"E",
        b"0",
        b"01",
        b"1e400",
        b"-1E999",
        b"1.",
        b".5",
        b"0x1",
    ),
    *(
        b"\\",
        b'\\"',
        b"\\u",
        b"\\ud800",
        b"\\uDC00",
        b"\\u0000",
        b'"',
        b"'",
        b",",
        b":",
        b"[",
        b"]",
        b"{",
        b"}",
    ),
    *(
        b"//",
        b"/**/",
        b"null",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xef\xbb\xbf",
        b'"a":1,',
        b'"a"',
        b"[]",
        b"{}",
    ),
]
EDITS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 2), st.sampled_from(FRAGMENTS)), max_size=3)


@given(st.sampled_from(SEEDS), EDITS)
@settings(max_examples=1500, deadline=None)
def test_edited_bodies_are_judged_as_the_grammar_judges_them(
    seed: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    body = seed
    for place, cut, fragment in edits:
        at = place % (len(body) + 1)
        body = body[:at] + fragment + body[at + cut :]
    try:
        payload = parse(body)
    except InvalidJSON:
        assert not is_acceptable(body), body
    else:
        assert is_acceptable(body), body
        assert ujson.loads(body) == payload


HOSTILE = {
    "open brackets": (b"[", b""),
    "bare quotes": (b'"', b""),
    "backslashes": (b'{"a":"', b"\\\\", b'"}'),
    "escaped quotes without an end": (b'{"a":"', b'\\"', b""),
    "marks behind escaped quotes": (b'{"a":"', b'\\"[{:', b'"}'),
    "digits": (b'{"a":', b"9", b"}"),
    "digits behind the point": (b'{"a":0.', b"3", b"}"),
    "digits of an exponent": (b'{"a":1e-', b"9", b"}"),
    "open objects": (b'{"a":', b""),
    "NaN in a string": (b'{"a":"', b"NaN", b'"}'),
    "highs without lows": (b'{"a":"', b"\\ud83d", b'"}'),
    "pairs": (b'{"a":"', b"\\ud83d\\ude00", b'"}'),
    "empty arrays": (b'{"a":[', b"[],", b"1]}"),
    "one key again and again": (b"{", b'"a":1,', b'"b":1}'),
    "blanks": (b"{", b" ", b"}"),
    "blanks behind": (b"{}", b"\n", b"x"),
    "numbers": (b'{"a":[', b"1.5,", b"1]}"),
}


@pytest.mark.parametrize("pattern", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_grows_with_the_body_and_no_faster(pattern: tuple[bytes, ...]) -> None:
    before, unit, after = (b"", *pattern) if len(pattern) == 2 else pattern

    def seconds(size: int) -> float:
        body = before + unit * (size // len(unit)) + after
        best = 9.0
        for _ in range(3):
            started = time.perf_counter()
            with suppress(InvalidJSON):
                parse(body)
            is_verbatim(body)
            best = min(best, time.perf_counter() - started)
        return best

    # Quadratic would be 64 times as long; what is quick at any size is not worth comparing.
    assert (large := seconds(1 << 22)) < 0.05 or large < 24 * seconds(1 << 19)


@pytest.mark.parametrize(
    ("body", "verbatim"),
    [
        (b'{"model":"a"}', True),
        (b'{"model":"\\u00e9\\n"}', True),
        (b'{"mod\\u0065l":"a"}', False),
        (b'{"\\u006dodel":"a"}', False),
        (b'{"\\u004dodel":"a"}', False),
        (b'{"max\\u005Ftokens":1}', False),
        (
            b'{"model":"a","content":"a \\u003c b \\u0026 c \\u0027\\u0022"}',
            True,
        ),  # as Go writes < & and quotes
        (b'{"model":"a","content":"\\ud83d\\ude00 \\u20ac \\u001b"}', True),
        (b'{"model":"a","content":"say \\"model\\", \\"n\\""}', True),
        (b'{"a":"\\\\u0065"}', False),  # harmless, and not worth telling apart
    ],
)
def test_bytes_are_spliced_only_where_no_ascii_is_escaped(body: bytes, verbatim: bool) -> None:
    assert is_verbatim(body) is verbatim


def test_a_refusal_repeats_nothing_of_the_body() -> None:
    with pytest.raises(InvalidJSON) as refused:
        parse(b'{"a": secret-content}')
    assert "secret" not in refused.value.message


@given(st.sampled_from(["model", "stream", "n", "best_of", "max_tokens", "max_output_tokens"]), st.data())
def test_a_name_with_any_letter_escaped_is_not_verbatim(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(name) - 1))
    code = f"\\u{ord(name[at]):04x}"
    escaped = name[:at] + data.draw(st.sampled_from([code, code[:2] + code[2:].upper()])) + name[at + 1 :]
    body = f'{{"{escaped}":1}}'.encode()
    assert parse(body) == {name: 1}
    assert not is_verbatim(body)
