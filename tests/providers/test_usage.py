"""What providers count: a part is never more than its whole, and a class that nobody knows is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.registry import ADAPTERS
from providers.usage import read_usage
from providers.wire import ChatRequest, Usage

CLASSES = ("cached_tokens", "cache_write_tokens", "cache_creation_tokens", "reasoning_tokens", "audio_tokens")
counts = st.one_of(st.integers(-5, 500), st.none(), st.floats(0, 9), st.just("12"), st.booleans())
details = st.one_of(st.none(), st.dictionaries(st.sampled_from(CLASSES), counts))
reports = st.fixed_dictionaries(
    {
        "prompt_tokens": st.integers(0, 100),
        "completion_tokens": st.integers(0, 100),
        # Cohere's form beside OpenAI's: each adapter takes what is its own.
        "billed_units": st.fixed_dictionaries({"input_tokens": st.integers(0, 100), "output_tokens": counts}),
    },
    optional={"prompt_tokens_details": details, "completion_tokens_details": details, "cached_tokens": counts},
)
REQUEST = ChatRequest(hub_model="acme/chat", body={"messages": []}, stream=False, wants_usage=True, choices=1)


@pytest.mark.parametrize("name", ADAPTERS)
@given(reported=reports)
def test_a_part_is_never_more_than_its_whole(name: str, reported: dict[str, Any]) -> None:
    rules: Any = ADAPTERS[name]
    usage: Usage | None = rules.read_usage(reported, REQUEST)
    if usage is not None:
        assert usage.cached_tokens >= 0
        assert usage.cache_write_tokens >= 0
        assert usage.cached_tokens + usage.cache_write_tokens <= usage.prompt_tokens
        assert 0 <= usage.reasoning_tokens <= usage.completion_tokens


def test_every_class_has_its_place() -> None:
    reported = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10, "text_tokens": 100},
        "completion_tokens_details": {"reasoning_tokens": 30, "accepted_prediction_tokens": 5},
    }
    assert read_usage(reported) == Usage(100, 50, 40, 30, 10)


def test_a_class_that_nobody_knows_is_told_where_it_counts_anything() -> None:
    reported = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 7, "smell_tokens": 0},
        "completion_tokens_details": {"audio_tokens": 3, "note": "none"},
    }
    usage = read_usage(reported)
    assert usage is not None
    assert usage.unpriced == (("audio_tokens", 7), ("audio_tokens", 3))
