"""Encoded bodies: decoded however they are cut, never beyond the cap, never guessed."""

import gzip
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.decoding import decoder_for
from gateway.upstream.faults import BodyTooLarge, ProtocolBroken

PLAIN = b'{"choices": []}' * 100
RAW_DEFLATE = zlib.compress(PLAIN)[2:-4]
ENCODED = {
    "gzip": (b"gzip", gzip.compress(PLAIN, mtime=0)),
    "x-gzip": (b"x-gzip", gzip.compress(PLAIN, mtime=0)),
    "two gzip members": (b"gzip", gzip.compress(PLAIN[:50]) + gzip.compress(PLAIN[50:])),
    "deflate as zlib": (b"deflate", zlib.compress(PLAIN)),
    "deflate as most send it": (b"deflate", RAW_DEFLATE),
}


def decode(encoding: bytes, *pieces: bytes, limit_bytes: int = 1 << 20) -> bytes:
    decoder = decoder_for([encoding], limit_bytes)
    decoded = b"".join([decoder.decode(piece) for piece in pieces])
    decoder.finish()
    return decoded


@given(st.sampled_from(sorted(ENCODED)), st.lists(st.integers(0, 200)))
def test_any_cutting_gives_the_same_body(name: str, cuts: list[int]) -> None:
    encoding, data = ENCODED[name]
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    assert decode(encoding, *pieces) == PLAIN


def test_the_cap_is_exact() -> None:
    data = gzip.compress(PLAIN, mtime=0)
    assert decode(b"gzip", data, limit_bytes=len(PLAIN)) == PLAIN
    with pytest.raises(BodyTooLarge):
        decode(b"gzip", data, limit_bytes=len(PLAIN) - 1)


def test_a_bomb_is_not_unpacked_beyond_the_cap() -> None:
    bomb = gzip.compress(bytes(50_000_000), 9)
    decoder = decoder_for([b"gzip"], 100_000)
    with pytest.raises(BodyTooLarge, match="100000"):
        decoder.decode(bomb)


def test_the_cap_holds_over_all_members_and_reads() -> None:
    member = gzip.compress(bytes(1000))
    decoder = decoder_for([b"gzip"], 2_500)
    decoder.decode(member)
    with pytest.raises(BodyTooLarge):
        decoder.decode(member + member)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        (b"gzip", b"not gzip at all"),
        (b"gzip", gzip.compress(PLAIN, mtime=0)[:-9]),
        (b"gzip", gzip.compress(PLAIN, mtime=0) + b"garbage"),
        (b"gzip", gzip.compress(PLAIN, mtime=0)[:40] + b"\0" * 40),
        (b"deflate", zlib.compress(PLAIN) + b"more"),
        (b"deflate", b"\xff\xff\xff"),
    ],
)
def test_what_is_not_encoded_as_it_says_is_a_fault(encoding: bytes, data: bytes) -> None:
    with pytest.raises(ProtocolBroken):
        decode(encoding, data)


@pytest.mark.parametrize("encodings", [[b"br"], [b"gzip", b"gzip"], [b"zstd"]])
def test_other_encodings_are_refused(encodings: list[bytes]) -> None:
    with pytest.raises(ProtocolBroken):
        decoder_for(encodings, 1000)


def test_an_empty_body_is_fine() -> None:
    assert decode(b"gzip") == b""
