"""What a request needs of whoever answers it, read from its body."""

from __future__ import annotations

from typing import Any

import pytest

from providers.fields import Feature, features_of

TOOLS = [{"type": "function", "function": {"name": "look"}}]


def image(url: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


@pytest.mark.parametrize(
    ("body", "needs"),
    [
        ({"temperature": 1, "max_tokens": 5}, set()),
        ({"n": 1, "logprobs": False, "tools": [], "response_format": {"type": "text"}}, set()),
        ({"n": 2}, {Feature.MANY_CHOICES}),
        ({"logprobs": True}, {Feature.LOGPROBS}),
        ({"response_format": {"type": "json_object"}}, {Feature.JSON_OBJECT}),
        ({"response_format": {"type": "json_schema"}}, {Feature.JSON_SCHEMA}),
        ({"response_format": {"type": "regex"}}, {Feature.REGEX}),
        ({"tools": TOOLS, "tool_choice": "auto"}, {Feature.TOOLS}),
        ({"tools": TOOLS, "tool_choice": "required"}, {Feature.TOOLS, Feature.FORCED_TOOL_CHOICE}),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, {Feature.TOOLS, Feature.FORCED_TOOL_CHOICE}),
        ({"tools": TOOLS, "parallel_tool_calls": True}, {Feature.TOOLS, Feature.PARALLEL_TOOL_CALLS}),
        ({"tools": TOOLS, "parallel_tool_calls": False}, {Feature.TOOLS}),
        (
            {"tools": TOOLS, "response_format": {"type": "json_schema"}},
            {Feature.TOOLS, Feature.JSON_SCHEMA, Feature.TOOLS_WITH_FORMAT},
        ),
        ({"tool_prompt": "x", "tools": TOOLS}, {Feature.TOOLS, Feature.TOOL_PROMPT}),
        ({"messages": image("data:image/png;base64,AA==")}, {Feature.IMAGES}),
        ({"messages": image("https://example.org/a.png")}, {Feature.IMAGES, Feature.IMAGE_URLS}),
    ],
)
def test_needs(body: dict[str, Any], needs: set[Feature]) -> None:
    messages = body.get("messages", [{"role": "user", "content": "hi"}])
    assert features_of({"messages": messages, **body}, images="messages" in body) == needs
