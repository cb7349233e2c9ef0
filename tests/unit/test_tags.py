"""The tags of `X-Gateway-Tags`, as they came off the wire."""

from __future__ import annotations

import pytest

from gateway.ask import parse_tags
from gateway.errors import InvalidRequest


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("value", ["Grüße", "Ärger", "prod"])
def test_a_value_is_read_as_its_client_wrote_it(value: str, encoding: str) -> None:
    assert parse_tags(f"project={value}, env=x".encode(encoding)) == {"project": value, "env": "x"}


@pytest.mark.parametrize("header", [b"", b"nope", b"a=", b"A=1", b"a=1,a=2", b"a=\xc2\x85", b"a=" + b"x" * 65])
def test_what_is_no_tag_is_refused(header: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^X-Gateway-Tags: ") as caught:
        parse_tags(header)
    assert caught.value.param == "X-Gateway-Tags"


def test_a_value_has_so_many_characters_in_whatever_script() -> None:
    assert parse_tags(("project=" + "語" * 64).encode()) == {"project": "語" * 64}
