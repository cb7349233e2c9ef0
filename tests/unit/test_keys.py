"""Gateway keys: their form, their checksum, and that only a digest is worth keeping."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.keys import KEY_CHARS, digest, equal, mint, parse

BASE62 = string.digits + string.ascii_letters


def test_a_minted_key_has_the_form_that_hugging_face_clients_route() -> None:
    key = mint()
    assert key.text.startswith("hf_gw_")
    assert len(key.text) == KEY_CHARS == 63
    assert key.prefix == f"hf_gw_{key.id}"
    assert key.text.startswith(key.prefix)


def test_a_minted_key_is_parsed_back_to_its_id_and_digest() -> None:
    key = mint()
    parsed = parse(key.text)
    assert parsed is not None
    assert (parsed.id, parsed.digest) == (key.id, key.digest)
    assert key.digest == digest(key.text)


def test_a_rotation_keeps_the_id_and_changes_the_secret() -> None:
    old = mint()
    new = mint(old.id)
    assert new.id == old.id
    assert new.digest != old.digest


@pytest.mark.parametrize("key_id", ["", "short", "ninechars", "has-dash", "ümläutee"])
def test_an_id_of_another_form_is_refused(key_id: str) -> None:
    with pytest.raises(ValueError, match="8 characters"):
        mint(key_id)


@given(st.integers(6, KEY_CHARS - 1), st.sampled_from(BASE62))
def test_any_single_typo_is_found_without_a_store(position: int, character: str) -> None:
    key = mint().text
    typo = key[:position] + character + key[position + 1 :]
    assert (parse(typo) is None) == (typo != key)


@given(st.text(max_size=80))
def test_other_texts_are_no_keys(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize("change", [lambda k: k + "\n", lambda k: k[:-1], lambda k: " " + k, lambda k: k.upper()])
def test_a_key_with_something_more_or_less_is_no_key(change: object) -> None:
    assert callable(change)
    assert parse(change(mint().text)) is None


def test_neither_the_key_nor_its_digest_is_in_a_repr() -> None:
    key = mint()
    assert key.text not in repr(key)
    assert key.digest not in repr(key)
    assert key.digest not in repr(parse(key.text))


def test_secrets_are_compared_whole() -> None:
    assert equal("correct horse", "correct horse")
    assert not equal("correct horse", "correct horsé")
