"""Codes of an authenticator."""

from __future__ import annotations

import pyotp

from handlers import second_factor

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
NOW = 1_790_000_010.0  # ten seconds into a step
STEP = int(NOW) // 30


def code(step: int) -> str:
    return pyotp.TOTP(SECRET).at(step * 30)


def test_the_codes_of_rfc_6238_are_right() -> None:
    """Appendix B, SHA-1, the last six digits."""
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # "12345678901234567890"
    for moment, digits in (
        (59, "287082"),
        (1111111109, "081804"),
        (1234567890, "005924"),
        (20000000000, "353130"),
    ):
        assert second_factor.steps_of(secret, digits, moment) == [moment // 30]


def test_a_phone_s_clock_may_be_one_step_off() -> None:
    for step in (STEP - 1, STEP, STEP + 1):
        assert step in second_factor.steps_of(SECRET, code(step), NOW)
    for step in (STEP - 2, STEP + 2):
        assert step not in second_factor.steps_of(SECRET, code(step), NOW)


def test_blanks_are_forgiven_and_anything_else_is_no_code() -> None:
    digits = code(STEP)
    assert second_factor.steps_of(SECRET, f" {digits[:3]} {digits[3:]} ", NOW) == [STEP]
    for wrong in ("", digits[:5], digits + "0", "".join(chr(0x660 + int(digit)) for digit in digits)):
        assert second_factor.steps_of(SECRET, wrong, NOW) == []


def test_the_picture_has_neither_script_nor_style() -> None:
    uri = second_factor.uri(SECRET, "ada@example.org", "Rooya")
    assert uri.startswith("otpauth://totp/Rooya:ada%40example.org?") and SECRET in uri
    svg = second_factor.picture(uri)
    assert svg.startswith("<svg") and "script" not in svg and "style" not in svg
