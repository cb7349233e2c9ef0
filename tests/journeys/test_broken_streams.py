"""A stream that breaks after content had gone out: told once, never called finished, charged as far as it came."""

from __future__ import annotations

import time

import pytest

from tests.journeys.caller import listen
from tests.journeys.conftest import Town

BREAKS = {
    "cut-after-3-chunks": (3, "stream_broken"),
    "rst-after-3-chunks": (3, "stream_broken"),
    "hang-after-3-chunks": (3, "timeout"),
    "error-in-stream-after-2": (2, "stream_broken"),
    "error-event": (2, "stream_broken"),
    "cut-mid-event": (3, "stream_broken"),
}
"""Fault by fault, the words that arrive and the code of the error."""


@pytest.mark.parametrize("fault", BREAKS)
def test_one_error_event_ends_it(town: Town, fault: str) -> None:
    town.first.next(fault)
    words, code = BREAKS[fault]

    heard = listen(town.gateway)

    assert heard.status == 200
    assert heard.error is not None
    assert heard.error["code"] == code
    assert heard.error["type"] == "upstream_error"
    assert "first" in heard.error["message"]
    assert b"[DONE]" not in heard.raw
    assert all(choice["finish_reason"] is None for event in heard.events[:-1] for choice in event["choices"])
    assert len(heard.text.split()) == words
    assert town.asked == (1, 0, 0)
    (entry,) = town.gateway.story(heard.inference_id)
    assert (entry.estimated, entry.unknown, entry.answered, entry.failed) == (True, False, True, True)
    assert 3 <= entry.prompt_tokens <= 8
    assert words - 2 <= entry.completion_tokens <= words + 2
    assert entry.charge_nano_usd == entry.prompt_tokens * 3_000 + entry.completion_tokens * 6_000


def test_silence_breaks_it_after_its_time(town: Town) -> None:
    town.first.next("hang-after-3-chunks")
    begun_s = time.monotonic()

    heard = listen(town.gateway)

    assert 0.9 < time.monotonic() - begun_s < 1.6
    (served,) = town.first.ended(heard.inference_id)
    assert served["outcome"] == "client_gone"
    assert served["secs"] < 1.6


@pytest.mark.parametrize("fault", ["no-done", "data-after-done", "no-length"])
def test_a_clumsy_goodbye_is_no_break(town: Town, fault: str) -> None:
    town.first.next(fault)

    heard = listen(town.gateway)

    assert heard.is_done
    assert heard.error is None
    assert heard.raw.count(b"[DONE]") == 1
    assert len(heard.text.split()) == 16
    (entry,) = town.gateway.story(heard.inference_id)
    assert (entry.completion_tokens, entry.estimated, entry.failed) == (16, False, False)


def test_a_stream_that_finished_but_never_says_so_is_a_success(town: Town) -> None:
    town.first.next("cut-before-usage")

    heard = listen(town.gateway)

    assert heard.is_done
    assert heard.error is None
    (entry,) = town.gateway.story(heard.inference_id)
    assert (entry.estimated, entry.failed) == (True, False)


def test_a_stream_that_finished_and_falls_silent_is_ended_for_it(town: Town) -> None:
    town.first.next("slow-usage-10s")
    begun_s = time.monotonic()

    heard = listen(town.gateway)

    assert 1.9 < time.monotonic() - begun_s < 2.6
    assert heard.is_done
    assert heard.error is None
    (served,) = town.first.ended(heard.inference_id)
    assert served["outcome"] == "client_gone"
    (entry,) = town.gateway.story(heard.inference_id)
    assert (entry.estimated, entry.failed) == (True, False)
