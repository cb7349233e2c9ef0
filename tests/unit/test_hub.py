"""The catalog as Hugging Face's router and Hub would answer."""

from __future__ import annotations

import pytest

from gateway.config.catalog import Catalog, Offer
from gateway.config.hub import Measured, hub_model, hub_models, partner_models, router_model, router_models
from gateway.errors import InvalidRequest, NotFound
from tests.unit.test_mappings import table

DAY = "2026-11-23"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return table("""\
providers:
  groq: {baseUrl: "http://127.0.0.1:1"}
  together: {baseUrl: "http://127.0.0.1:2"}
models:
  meta-llama/Llama-3.3-70B-Instruct:
    providersMapping:
      groq:
        providerModelId: llama-3.3-70b-versatile
        contextLength: 131072
        pricing: {input: "0.59", output: "0.79"}
        supports: {tools: true, structuredOutput: false}
      together: {providerModelId: llama-turbo, status: staging}
  Qwen/Qwen2.5-VL-7B-Instruct:
    providersMapping:
      together: {providerModelId: qwen-vl, task: image-text-to-text}
  Qwen/Embedding:
    providersMapping:
      together: {providerModelId: embed, task: feature-extraction}
aliases:
  default: meta-llama/Llama-3.3-70B-Instruct
""")


def not_groq(offer: Offer) -> bool:
    return offer.provider.name != "groq"


def test_the_model_list_has_the_routers_shape(catalog: Catalog) -> None:
    listed = router_models(catalog, DAY)
    assert listed["object"] == "list"
    llama, qwen, embedding = listed["data"]
    assert llama == {
        "id": "meta-llama/Llama-3.3-70B-Instruct",
        "object": "model",
        "created": 0,
        "owned_by": "meta-llama",
        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        "providers": [
            {
                "provider": "groq",
                "status": "live",
                "context_length": 131072,
                "pricing": {"input": 0.59, "output": 0.79},
                "supports_tools": True,
                "supports_structured_output": False,
                "is_model_author": False,
            }
        ],
    }
    assert qwen["architecture"]["input_modalities"] == ["text", "image"]
    assert qwen["providers"] == [{"provider": "together", "status": "live", "is_model_author": False}]
    assert embedding["architecture"]["output_modalities"] == ["embedding"]


def test_what_was_measured_is_shown(catalog: Catalog) -> None:
    slow = Measured(healthy=False, first_token_ms=612.4, tokens_per_s=40.1301)
    (provider,) = router_model(catalog, "default", DAY, measured=lambda _: slow)["providers"]
    assert (provider["status"], provider["first_token_latency_ms"], provider["throughput"]) == ("error", 612, 40.13)


def test_a_caller_sees_only_what_it_may_call(catalog: Catalog) -> None:
    assert [model["id"] for model in router_models(catalog, DAY, not_groq)["data"]] == [
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "Qwen/Embedding",
    ]
    with pytest.raises(NotFound):
        router_model(catalog, "default", DAY, not_groq)


def test_an_unknown_model_is_answered_with_near_names(catalog: Catalog) -> None:
    with pytest.raises(NotFound, match=r"Did you mean 'meta-llama/Llama-3\.3-70B-Instruct'"):
        router_model(catalog, "meta-llama/Llama-3.3-70B", DAY)


@pytest.mark.parametrize("name", ["expand", "expand[]"])
def test_one_model_of_the_hub_maps_providers_in_the_tables_order(catalog: Catalog, name: str) -> None:
    answer = hub_model(catalog, "meta-llama/Llama-3.3-70B-Instruct", {name: ["inferenceProviderMapping"]})
    assert set(answer) == {"_id", "id", "inferenceProviderMapping"}
    mapping = answer["inferenceProviderMapping"]
    assert list(mapping) == ["groq", "together"]
    assert mapping["together"] == {
        "status": "staging",
        "providerId": "llama-turbo",
        "task": "conversational",
        "isModelAuthor": False,
    }


def test_without_expand_a_model_says_its_pipeline_and_tags(catalog: Catalog) -> None:
    answer = hub_model(catalog, "Qwen/Qwen2.5-VL-7B-Instruct", {})
    assert answer["pipeline_tag"] == "image-text-to-text"
    assert "conversational" in answer["tags"]
    assert "inferenceProviderMapping" not in answer


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"inference_provider": ["groq"]}, ["meta-llama/Llama-3.3-70B-Instruct"]),
        ({"inference_provider": ["groq,together"]}, None),
        ({"inference_provider": ["groq", "together"]}, None),
        ({"inference_provider": ["all"]}, None),
        ({"inference_provider": ["nobody"]}, []),
        ({"pipeline_tag": ["text-generation"]}, ["meta-llama/Llama-3.3-70B-Instruct"]),
        ({"filter": ["conversational"]}, ["meta-llama/Llama-3.3-70B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct"]),
        ({"search": ["QWEN"]}, ["Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Embedding"]),
        ({"author": ["Qwen"], "limit": ["1"]}, ["Qwen/Qwen2.5-VL-7B-Instruct"]),
        ({"skip": ["2"]}, ["Qwen/Embedding"]),
    ],
)
def test_the_hub_list_is_filtered(catalog: Catalog, query: dict[str, list[str]], ids: list[str] | None) -> None:
    found = [model["id"] for model in hub_models(catalog, query).items]
    assert found == (ids if ids is not None else list(catalog.models))


def test_the_hub_list_gives_the_mapping_as_an_array_and_pages(catalog: Catalog) -> None:
    page = hub_models(catalog, {"expand[]": ["inferenceProviderMapping"], "limit": ["1"]})
    assert page.next_skip == 1
    assert [row["provider"] for row in page.items[0]["inferenceProviderMapping"]] == ["groq", "together"]
    with pytest.raises(InvalidRequest, match="limit"):
        hub_models(catalog, {"limit": ["many"]})


def test_a_partner_sees_its_rows_by_task(catalog: Catalog) -> None:
    tasks = partner_models(catalog, "together", {})
    assert set(tasks) == {"conversational", "feature-extraction"}
    row = tasks["conversational"]["Qwen/Qwen2.5-VL-7B-Instruct"]
    assert (row["providerId"], row["status"], len(row["_id"])) == ("qwen-vl", "live", 24)
    assert set(partner_models(catalog, "together", {"status": ["staging"]})) == {"conversational"}
    with pytest.raises(NotFound, match="Did you mean 'together'"):
        partner_models(catalog, "togehter", {})
