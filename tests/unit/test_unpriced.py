"""Tokens without a price are an alarm: once in the log, always in the metrics."""

from __future__ import annotations

import logging

import pytest

from gateway.metrics import Metrics
from gateway.unpriced import CLASSES_MAX, UnpricedTokens


def test_each_class_is_told_once_and_counted_always(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    unpriced = UnpricedTokens(metrics)
    with caplog.at_level(logging.WARNING):
        unpriced.tell("acme", [("audio_tokens", 7)])
        unpriced.tell("acme", [("audio_tokens", 3), ("video_tokens", 1)])
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "acme counts audio_tokens",
        "acme counts video_tokens",
    ]
    assert counted(metrics, "audio_tokens") == 10


def test_a_provider_that_makes_up_names_fills_no_memory() -> None:
    metrics = Metrics()
    unpriced = UnpricedTokens(metrics)
    for number in range(CLASSES_MAX + 5):
        unpriced.tell("acme", [(f"tokens_{number}", 2)])
    assert counted(metrics, "other") == 10
    assert metrics.exposition().count(b"gateway_unpriced_tokens_total{") == CLASSES_MAX + 1


def counted(metrics: Metrics, token_class: str) -> float | None:
    labels = {"provider": "acme", "token_class": token_class}
    return metrics.registry.get_sample_value("gateway_unpriced_tokens_total", labels)
