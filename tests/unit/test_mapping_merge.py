"""Rows from the documentation, the Hub and the router, merged into the text of a table."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.hub_rows import HubRow, NoRows, combined, rows_in_text, rows_of
from gateway.config.mapping_merge import merge
from tests.unit.test_mappings import table

DOCS = """<InferenceSnippet
    pipeline=image-text-to-text
    providersMapping={ {"groq":{"modelId":"org/vision","providerModelId":"vision-1"},"nobody":{"modelId":"org/vision",
"providerModelId":"v"}} }
conversational />"""

TABLE = """\
# Ours.
providers:
  groq: {apiKey: "${GROQ_API_KEY}"}
  together: {apiKey: "${TOGETHER_API_KEY}"}   # paid by us
models:
  org/first:   # the favourite
    providersMapping:
      groq:
        providerModelId: first-old   # since May
        pricing: {input: "0.50", output: "1.00", cachedInput: "0.10"}
  org/second:
    providersMapping: {groq: {providerModelId: second, status: staging}}

# The end.
"""


def merged(*rows: HubRow, **options: Any) -> tuple[list[str], str]:
    found = merge(TABLE, rows, **options)
    table(found.text, {"GROQ_API_KEY": "k", "TOGETHER_API_KEY": "k"})
    return [str(change) for change in found.changes], found.text


def test_the_documentation_page_is_read_as_it_is_printed() -> None:
    rows = rows_in_text(DOCS)
    assert rows[0] == HubRow("org/vision", "groq", "vision-1", task="image-text-to-text")
    assert len(rows) == 2


def test_a_providers_mapping_is_read_as_json() -> None:
    rows = rows_in_text('{"groq": {"modelId": "org/a", "providerModelId": "a"}}')
    assert rows == [HubRow("org/a", "groq", "a")]


@pytest.mark.parametrize(
    "mapping",
    [
        {"groq": {"status": "live", "providerId": "a", "task": "conversational"}},
        [{"provider": "groq", "status": "live", "providerId": "a", "task": "conversational"}],
    ],
)
def test_both_forms_of_the_hubs_answer_are_read(mapping: Any) -> None:
    answer = {"id": "org/a", "inferenceProviderMapping": mapping}
    row = HubRow("org/a", "groq", "a", "conversational", "live", from_hub=True)
    assert rows_of(answer) == rows_of([answer]) == [row]


def test_the_routers_list_adds_its_figures() -> None:
    listed = {
        "object": "list",
        "data": [
            {
                "id": "org/a",
                "providers": [
                    {"provider": "groq", "context_length": 8192, "pricing": {"input": 0.1, "output": 1e-07}},
                    {"provider": "together", "pricing": {"input": 0, "output": 0}, "supports_tools": True},
                ],
            }
        ],
    }
    groq, together = combined([HubRow("org/a", "groq", "a"), *rows_of(listed)])
    assert (groq.provider_model, groq.context_length, groq.input_usd, groq.output_usd) == (
        "a",
        8192,
        "0.1",
        "0.0000001",
    )
    assert (together.input_usd, together.tools) == (None, True)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", "[1, {}]", '{"groq": {"modelId": 1}}', "providersMapping={ {"]
)
def test_a_document_without_rows_says_so(text: str) -> None:
    with pytest.raises(NoRows):
        rows_in_text(text)


def test_a_changed_row_changes_its_value_and_nothing_else() -> None:
    changes, text = merged(HubRow("org/first", "groq", "first-new", input_usd="0.6", output_usd="1"))
    assert changes == [
        "~ org/first groq: providerModelId: first-old -> first-new",
        "~ org/first groq: pricing.input: 0.50 -> 0.6",
    ]
    expected = TABLE.replace("first-old", "first-new").replace('input: "0.50"', 'input: "0.6"')
    assert text == expected


def test_what_was_not_said_is_added_in_the_style_of_the_row() -> None:
    changes, text = merged(
        HubRow("org/first", "groq", "first-old", context_length=8192, tools=True),
        HubRow("org/second", "groq", "second", status="live", input_usd="1", output_usd="2"),
    )
    assert changes == [
        "~ org/first groq: contextLength: not said -> 8192",
        "~ org/first groq: supports: not said -> {tools: true}",
        "~ org/second groq: status: staging -> live",
        '~ org/second groq: pricing: not said -> {input: "1", output: "2"}',
    ]
    assert '"0.10"}\n        contextLength: 8192\n        supports: {tools: true}\n  org/second' in text
    assert '{groq: {providerModelId: second, status: live, pricing: {input: "1", output: "2"}}}\n\n# The end.' in text


def test_new_rows_and_models_stand_behind_the_old_ones() -> None:
    changes, text = merged(
        HubRow("org/third", "groq", "third: 3", task="image-text-to-text", status="staging"),
        HubRow("org/first", "together", "first"),
        HubRow("org/second", "together", "second"),
    )
    assert [change[0] for change in changes] == ["+", "+", "+"]
    assert "      together:\n        providerModelId: first\n        task: conversational\n  org/second" in text
    assert "status: staging}, together: {providerModelId: second, task: conversational}}" in text
    assert text.endswith(
        '\n\n  org/third:\n    providersMapping:\n      groq:\n        providerModelId: "third: 3"\n'
        "        task: image-text-to-text\n        status: staging\n\n# The end.\n"
    )


def test_what_the_table_cannot_hold_is_counted_and_skipped() -> None:
    changes, text = merged(
        HubRow("org/a", "deepinfra", "a"),
        HubRow("org/b", "deepinfra", "b"),
        HubRow("../etc", "groq", "c"),
        HubRow("org/d", "groq", "d", task="text-to-image"),
        HubRow("org/e", "groq", "e", status="error"),
        HubRow("org/f", "groq", context_length=1),
    )
    assert changes == [
        "! deepinfra: 2 rows skipped, not declared under providers:",
        "! groq: 1 row skipped, its status is error",
        "! groq: 1 row skipped, not a Hub model id",
        "! groq: 1 row skipped, the task text-to-image is not served here",
    ]
    assert text == TABLE


def test_a_row_that_the_hub_no_longer_lists_is_named_and_kept() -> None:
    changes, text = merged(
        HubRow("org/first", "together", "first", from_hub=True),
        HubRow("org/second", "groq", "second", status="staging"),
    )
    assert "? org/first groq: the source no longer lists it; left as it is" in changes
    assert "first-old" in text


def test_known_models_only_adds_rows_but_no_models() -> None:
    changes, _ = merged(HubRow("org/new", "groq", "n"), HubRow("org/first", "together", "f"), known_models_only=True)
    assert changes == ["+ org/first together: f"]


IDS = st.sampled_from(["org/first", "org/second", "org/third", "01/4", "a", "no"])
VALUES = st.one_of(st.sampled_from(["yes", "1", "a: b", "#x", "'", '"', "{", "null", "\\", "é"]), st.text(min_size=1))


@given(IDS, st.sampled_from(["groq", "together"]), VALUES, st.booleans())
def test_whatever_a_source_says_the_table_stays_readable_and_says_it(
    hub_model: str, provider: str, provider_model: str, flag: bool
) -> None:
    entry = {"provider": provider, "providerId": provider_model, "status": "live"}
    answer = json.dumps({"id": hub_model, "inferenceProviderMapping": [entry]})
    try:
        rows = rows_in_text(answer)
    except NoRows:
        return
    changed = merge(TABLE, rows)
    catalog = table(changed.text, {"GROQ_API_KEY": "k", "TOGETHER_API_KEY": "k"})
    offers = {offer.provider.name: offer for offer in catalog.models[hub_model].offers}
    assert offers[provider].provider_model == provider_model
    assert merge(changed.text, rows).text == changed.text
