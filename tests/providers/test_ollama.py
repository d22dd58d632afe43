"""Ollama: pictures in the request itself, and nothing that it would silently ignore."""

from __future__ import annotations

from typing import Any

import pytest

from providers.errors import Unsupported
from tests.providers.calling import encode, make_call


def asking_of(image: Any) -> Any:
    return make_call(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": image}]}])


@pytest.mark.parametrize("image", ["data:image/png;base64,x", {"url": "data:image/png;base64,x"}, None, 7])
def test_a_picture_in_the_request_goes_up_as_it_came(image: Any) -> None:
    call = asking_of(image)
    assert encode("ollama", call).body is call.body


@pytest.mark.parametrize("url", ["https://a.example/x.png", "http://a.example/x.png", "file:///etc/x.png"])
@pytest.mark.parametrize("is_wrapped", [True, False])
def test_a_picture_elsewhere_is_refused(url: str, is_wrapped: bool) -> None:
    with pytest.raises(Unsupported) as caught:
        encode("ollama", asking_of({"url": url} if is_wrapped else url))
    assert caught.value.param == "messages[0].content"


@pytest.mark.parametrize(
    ("choice", "dropped"),
    [
        ("auto", ()),
        ("none", ()),
        ("required", ("tool_choice",)),
        ({"type": "function", "function": {"name": "f"}}, ("tool_choice",)),
    ],
)
def test_a_choice_that_it_would_ignore_is_told(choice: Any, dropped: tuple[str, ...]) -> None:
    assert encode("ollama", make_call(tool_choice=choice)).dropped == dropped
