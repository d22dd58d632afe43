"""Codes of an authenticator (RFC 6238): which time steps a code is of, and the picture to scan."""

from __future__ import annotations

import hmac
import io
from typing import Final

import pyotp
import segno

STEP_SECONDS: Final = 30
DRIFT: Final = 1  # steps that a phone's clock may be off


def steps_of(secret: str, code: str, now: float) -> list[int]:
    """The time steps near `now` that a code is right for; none where it is wrong."""
    digits = "".join(char for char in code if char.isascii() and char.isdigit())
    if len(digits) != 6:
        return []
    at = int(now) // STEP_SECONDS
    codes = pyotp.TOTP(secret)
    near = range(at - DRIFT, at + DRIFT + 1)
    return [step for step in near if hmac.compare_digest(codes.at(step * STEP_SECONDS), digits)]


def uri(secret: str, email: str, issuer: str) -> str:
    """What the picture says."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=issuer)


def picture(text: str) -> str:
    """A QR code as SVG, without a script or a style."""
    out = io.BytesIO()
    segno.make(text, error="m").save(
        out,
        kind="svg",
        scale=4,
        border=2,
        xmldecl=False,
        svgns=True,
        omitsize=True,
        svgclass="",
        lineclass="",
    )
    return out.getvalue().decode()
