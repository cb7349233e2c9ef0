"""The table that the project ships: readable, complete, and quick to load."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.config.catalog import Catalog
from gateway.config.mappings import load
from gateway.config.table_providers import key_variable
from providers.registry import ADAPTERS

TABLE = Path(__file__).parents[2] / "mappings.yaml"

# The two providersMapping tables of the specification: language models, then vision-language models.
SPECIFIED = """
cerebras Qwen/Qwen3-32B qwen-3-32b
cohere CohereLabs/c4ai-command-r-plus command-r-plus-04-2024
fireworks-ai deepseek-ai/DeepSeek-R1-0528 accounts/fireworks/models/deepseek-r1-0528
groq meta-llama/Llama-3.3-70B-Instruct llama-3.3-70b-versatile
hf-inference sarvamai/sarvam-m sarvamai/sarvam-m
hyperbolic deepseek-ai/DeepSeek-R1-0528 deepseek-ai/DeepSeek-R1-0528
nebius deepseek-ai/DeepSeek-R1-0528 deepseek-ai/DeepSeek-R1-0528
novita deepseek-ai/DeepSeek-R1-0528 deepseek/deepseek-r1-0528
nscale meta-llama/Llama-3.1-8B-Instruct meta-llama/Llama-3.1-8B-Instruct
sambanova deepseek-ai/DeepSeek-R1-0528 DeepSeek-R1-0528
together deepseek-ai/DeepSeek-R1 deepseek-ai/DeepSeek-R1
cerebras meta-llama/Llama-4-Scout-17B-16E-Instruct llama-4-scout-17b-16e-instruct
cohere CohereLabs/aya-vision-8b c4ai-aya-vision-8b
fireworks-ai meta-llama/Llama-4-Scout-17B-16E-Instruct accounts/fireworks/models/llama4-scout-instruct-basic
groq meta-llama/Llama-4-Scout-17B-16E-Instruct meta-llama/llama-4-scout-17b-16e-instruct
hf-inference meta-llama/Llama-3.2-11B-Vision-Instruct meta-llama/Llama-3.2-11B-Vision-Instruct
hyperbolic Qwen/Qwen2.5-VL-7B-Instruct Qwen/Qwen2.5-VL-7B-Instruct
nebius google/gemma-3-27b-it google/gemma-3-27b-it-fast
novita meta-llama/Llama-4-Scout-17B-16E-Instruct meta-llama/llama-4-scout-17b-16e-instruct
nscale meta-llama/Llama-4-Scout-17B-16E-Instruct meta-llama/Llama-4-Scout-17B-16E-Instruct
sambanova meta-llama/Llama-4-Scout-17B-16E-Instruct Llama-4-Scout-17B-16E-Instruct
together meta-llama/Llama-4-Scout-17B-16E-Instruct meta-llama/Llama-4-Scout-17B-16E-Instruct
"""
ROWS = [line.split() for line in SPECIFIED.split("\n") if line]


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    return load(TABLE, {key_variable(name): "key" for name in ADAPTERS}, ADAPTERS)


def test_it_loads_without_faults_and_with_every_provider(shipped: Catalog) -> None:
    assert shipped.left_out == {}
    assert len(shipped.providers) == 11
    assert all(model.offers for model in shipped.models.values())


@pytest.mark.parametrize(("provider", "hub_model", "provider_model"), ROWS)
def test_every_row_of_the_specification_is_in_it(
    shipped: Catalog, provider: str, hub_model: str, provider_model: str
) -> None:
    found = {offer.provider.name: offer.provider_model for offer in shipped.models[hub_model].offers}
    assert found[provider] == provider_model


def test_vision_rows_say_so(shipped: Catalog) -> None:
    vision = {hub_model for _, hub_model, _ in ROWS[11:]}
    for hub_model in vision:
        assert all(offer.supports.vision for offer in shipped.models[hub_model].offers)


def test_no_price_is_zero(shipped: Catalog) -> None:
    prices = [price for model in shipped.models.values() for offer in model.offers for price in offer.prices]
    assert len(prices) > 50
    assert all(price.input > 0 and price.output > 0 for price in prices)


def test_without_any_key_everything_is_left_out_with_its_reason() -> None:
    catalog = load(TABLE, {}, ADAPTERS)
    assert len(catalog.left_out) == 11
    assert catalog.left_out["hf-inference"] == "HF_TOKEN is not set"


def test_it_loads_in_well_under_half_a_second() -> None:
    began = time.perf_counter()
    load(TABLE, {}, ADAPTERS)
    assert time.perf_counter() - began < 0.5
