"""Identifiers of our own making: inference ids (UUIDv7), team ids, key ids and instance ids.

None of them is a secret, and none is ever taken from a caller.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from random import Random
from typing import Final

_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"
_COUNTER_MAX: Final = 0xFFF


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class InferenceIds:
    """Makes UUIDv7 strings that grow within a process, also when the clock stands still or jumps back.

    The 12 bits after the version are a counter that begins at a random low value in each millisecond; 62 random
    bits follow.
    """

    __slots__ = ("_clock_ms", "_counter", "_last_ms", "_random")

    def __init__(self, clock_ms: Callable[[], int] = _now_ms) -> None:
        self._clock_ms = clock_ms
        # Uniqueness is wanted, not secrecy; a generator seeded by the system is ten times faster than asking it.
        self._random = Random(secrets.randbits(128))  # noqa: S311
        self._last_ms = 0
        self._counter = 0

    def next(self) -> str:
        now_ms = self._clock_ms()
        bits = self._random.getrandbits(72)
        if now_ms > self._last_ms:
            self._last_ms = now_ms
            self._counter = bits >> 64  # below 256, so that thousands fit into one millisecond
        elif self._counter < _COUNTER_MAX:
            self._counter += 1
        else:
            self._last_ms += 1
            self._counter = bits >> 64
        tail = (bits & 0x3FFF_FFFF_FFFF_FFFF) | 0x8000_0000_0000_0000
        text = "%012x7%03x%016x" % (self._last_ms, self._counter, tail)  # noqa: UP031 - twice as fast as an f-string
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def milliseconds_of(inference_id: str) -> int:
    """The Unix milliseconds that an inference id begins with; 0 where the text is none of ours."""
    try:
        return int(inference_id[:8] + inference_id[9:13], 16)
    except ValueError:
        return 0


def _random_base32(length: int) -> str:
    return "".join(secrets.choice(_BASE32) for _ in range(length))


def new_team_id() -> str:
    """`t_` and 12 random characters: immutable, never given twice, and the hash tag of all that a team has."""
    return f"t_{_random_base32(12)}"


def new_key_id() -> str:
    return f"k_{_random_base32(12)}"


def new_instance_id() -> str:
    """One life of one worker process, and the name of its journal's folder."""
    return f"i_{_random_base32(16)}"
