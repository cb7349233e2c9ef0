"""What the chat dialect takes, refuses by name, and brings into canonical form."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ask import Ask
from gateway.dialects import chat
from gateway.errors import GatewayError, InvalidRequest
from providers.fields import Feature

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def read(**fields: Any) -> Ask:
    return chat.read(json.dumps({"model": "org/model", "messages": [USER], **fields}).encode())


def refused(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)
    return caught.value


def test_model_suffix_and_provider_wishes_are_taken_out_of_the_body() -> None:
    ask = read(model="org/model:groq", provider={"only": ["groq"], "max_price": {"input": 1.5}})
    assert (ask.model, ask.suffix) == ("org/model", "groq")
    assert ask.wishes.only == ("groq",)
    assert ask.wishes.price_input_max == 1_500_000_000
    assert set(ask.request.body) == {"messages"}


def test_an_endpoints_url_as_a_model_is_a_name_that_nobody_has() -> None:
    assert read(model="http://127.0.0.1:8000/v1").suffix is None


def test_nulls_count_as_absent() -> None:
    assert set(read(temperature=None, tools=None, stop=None).request.body) == {"messages"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 3),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_p", -0.1),
        ("frequency_penalty", 2.5),
        ("presence_penalty", -3),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("seed", "x"),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", [1]),
        ("stream", "yes"),
        ("logprobs", 1),
        ("top_logprobs", 6),
        ("n", 0),
        ("tools", {}),
        ("tool_prompt", 5),
        ("messages", []),
        ("messages", "hi"),
        ("response_format", "json"),
        ("stream_options", []),
    ],
)
def test_a_field_of_the_wrong_type_or_range_is_named(field: str, value: Any) -> None:
    error = refused(**{field: value})
    assert error.param == field
    assert field in error.message


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "robot", "content": "x"}], "messages[0].role"),
        ([USER, {"role": "user", "content": 5}], "messages[1].content"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "video"}]}], "messages[0].content[0].type"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}],
            "messages[0].content[0].image_url.url",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"id": "1", "function": {}}]}],
            "messages[0].tool_calls[0].function.name",
        ),
        (["hi"], "messages[0]"),
    ],
)
def test_a_faulty_message_is_named_by_its_place(messages: Any, param: str) -> None:
    assert refused(messages=messages).param == param


def test_past_tool_calls_carry_arguments_as_a_string_whatever_was_sent() -> None:
    calls = [
        {"id": "1", "function": {"name": "f", "parameters": {"a": 1}}},
        {"id": "2", "type": "function", "function": {"name": "g", "arguments": '{"b": 2}'}},
        {"id": "3", "function": {"name": "h"}},
    ]
    body = read(messages=[USER, {"role": "assistant", "content": None, "tool_calls": calls}]).request.body
    functions = [call["function"] for call in body["messages"][1]["tool_calls"]]
    assert functions == [
        {"name": "f", "arguments": '{"a":1}'},
        {"name": "g", "arguments": '{"b": 2}'},
        {"name": "h", "arguments": "{}"},
    ]


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ({"type": "json", "value": SCHEMA}, {"name": "response", "schema": SCHEMA}),
        ({"type": "json", "value": json.dumps(SCHEMA)}, {"name": "response", "schema": SCHEMA}),
        ({"type": "json_object", "value": SCHEMA}, {"name": "response", "schema": SCHEMA}),
        ({"type": "json_object", "schema": SCHEMA}, {"name": "response", "schema": SCHEMA}),
        ({"type": "json_schema", "schema": SCHEMA}, {"name": "response", "schema": SCHEMA}),
        ({"type": "json_schema", "value": {"schema": SCHEMA}}, {"name": "response", "schema": SCHEMA}),
        ({"type": "json_schema", "value": {"name": "n", "schema": SCHEMA}}, {"name": "n", "schema": SCHEMA}),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
            {"name": "n", "schema": SCHEMA, "strict": True},
        ),
    ],
)
def test_every_way_to_ask_for_a_schema_means_the_same(given: Any, canonical: Any) -> None:
    ask = read(response_format=given)
    assert ask.request.body["response_format"] == {"type": "json_schema", "json_schema": canonical}
    assert ask.features == {Feature.JSON_SCHEMA}


@pytest.mark.parametrize(
    ("given", "feature"),
    [
        ({"type": "json_object"}, Feature.JSON_OBJECT),
        ({"type": "regex", "value": "[0-9]+"}, Feature.REGEX),
    ],
)
def test_other_formats_stay_as_they_are(given: Any, feature: Feature) -> None:
    ask = read(response_format=given)
    assert ask.request.body["response_format"] == given
    assert ask.features == {feature}


@pytest.mark.parametrize(
    "given",
    [
        {"type": "xml"},
        {"type": "json"},
        {"type": "json", "value": "{not json"},
        {"type": "json", "value": 5},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"name": "n"}},
        {"type": "regex"},
    ],
)
def test_a_faulty_format_names_its_part(given: Any) -> None:
    assert (refused(response_format=given).param or "").startswith("response_format.")


def test_tool_choice_is_understood_in_each_form() -> None:
    named = {"type": "function", "function": {"name": "f"}}
    for form in ({"function": {"name": "f"}}, named, "f"):
        ask = read(tools=[TOOL], tool_choice=form)
        assert ask.request.body["tool_choice"] == named
        assert ask.features == {Feature.TOOLS, Feature.FORCED_TOOL_CHOICE}
    assert read(tools=[TOOL], tool_choice="auto").features == {Feature.TOOLS}


def test_tool_choice_without_tools() -> None:
    assert "tool_choice" not in read(tool_choice="auto", tools=[]).request.body
    assert refused(tool_choice="required").param == "tool_choice"
    assert refused(tools=[TOOL], tool_choice="g").param == "tool_choice"


def test_stop_becomes_a_list_and_one_name_of_the_output_cap_stays() -> None:
    ask = read(stop="x", max_tokens=5, max_completion_tokens=7)
    assert ask.request.body["stop"] == ["x"]
    assert ask.max_tokens == 7
    assert "max_tokens" not in ask.request.body


def test_images_and_text_are_counted_apart() -> None:
    parts = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1000}},
        {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}},
    ]
    ask = read(messages=[{"role": "user", "content": parts}])
    assert (ask.images, ask.prompt_bytes) == (2, 3)
    assert ask.features == {Feature.IMAGES, Feature.IMAGE_URLS}


def test_unknown_fields_are_kept_for_the_adapters_to_judge() -> None:
    assert read(top_k=5).request.body["top_k"] == 5


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b'{"model": NaN}', b"\xff", b'{"model":"\\ud800"}'])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        chat.read(raw)


@pytest.mark.parametrize("depth", [70, 100_000])
def test_absurd_nesting_is_refused(depth: int) -> None:
    raw = b'{"model": "m", "messages": [], "x": ' + b"[" * depth + b"]" * depth + b"}"
    with pytest.raises(InvalidRequest, match="nested"):
        chat.read(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["model", "messages", "tools", "tool_choice", "response_format", "stop", "provider", "n"]),
        JSON | st.just([USER]) | st.just([TOOL]),
    )
)
def test_no_body_does_anything_but_pass_or_be_refused(body: dict[str, Any]) -> None:
    with contextlib.suppress(GatewayError):
        assert isinstance(chat.read(json.dumps(body).encode()).request.body["messages"], list)
