"""Ids grow, and stay apart."""

from __future__ import annotations

import re
from uuid import UUID

from gateway.ids import InferenceIds, milliseconds_of, new_instance_id, new_key_id, new_team_id


def test_inference_ids_are_version_seven_and_tell_their_time() -> None:
    text = InferenceIds(lambda: 1_795_448_860_907).next()
    assert UUID(text).version == 7
    assert UUID(text).variant == "specified in RFC 4122"
    assert milliseconds_of(text) == 1_795_448_860_907


def test_they_grow_while_the_clock_stands_still_or_goes_back() -> None:
    times = iter([5_000_000] * 10_000 + [4_000_000] * 10_000)
    ids = InferenceIds(lambda: next(times))
    made = [ids.next() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_what_is_none_of_ours_has_no_time() -> None:
    assert milliseconds_of("") == 0
    assert milliseconds_of("chatcmpl-1") == 0


def test_the_other_ids_are_short_lower_case_and_random() -> None:
    assert re.fullmatch(r"t_[a-z2-7]{12}", new_team_id())
    assert re.fullmatch(r"k_[a-z2-7]{12}", new_key_id())
    assert re.fullmatch(r"i_[a-z2-7]{16}", new_instance_id())
    assert len({new_team_id() for _ in range(1000)}) == 1000
