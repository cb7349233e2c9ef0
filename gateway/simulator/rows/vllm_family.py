"""What servers of the vLLM family refuse: hyperbolic (3.6), nebius (3.7), nscale (3.9), plain OpenAI-like ones (4)."""

from __future__ import annotations

from typing import Final

from gateway.simulator.rows.common import (
    OPTIONS_ALONE,
    OPTIONS_SAID,
    OPTIONS_SAMPLE,
    TOOL,
    UNSUPPORTED,
    basics,
    row_of,
    vllm_ranges,
)
from gateway.simulator.rules import ABSENT, MISSING, PRESENT, Rule, when

_hyperbolic = row_of("hyperbolic", 400, type="BadRequestError", code=400)
_nebius = row_of("nebius", 400, type="BadRequestError", code=400)
_nscale = row_of("nscale", 400, type="BadRequestError", code=400)
_openai = row_of("openai", 400, type="invalid_request_error")
HYPERBOLIC: Final[tuple[Rule, ...]] = (*basics(_hyperbolic, status=422, form="detail"), *vllm_ranges(_hyperbolic))
NEBIUS: Final[tuple[Rule, ...]] = (
    *basics(_nebius),
    *vllm_ranges(_nebius),
    _nebius("stream_options", OPTIONS_ALONE, OPTIONS_SAMPLE, "4, vLLM family", "S", OPTIONS_SAID),
)
NSCALE: Final[tuple[Rule, ...]] = (
    *basics(_nscale),
    *vllm_ranges(_nscale),
    *(
        _nscale(name, PRESENT, {name: sample}, "3.9 stripped by a gateway", "G", UNSUPPORTED, switch="stripped")
        for name, sample in {
            "tools": [TOOL],
            "tool_choice": "auto",
            "user": "ada",
            "stream_options": {"include_usage": True},
            "functions": [],
            "function_call": "auto",
        }.items()
    ),
    _nscale("seed", PRESENT, {"seed": 7}, "3.9 stripped by a gateway", "G", UNSUPPORTED, switch="stripped"),
)
OPENAI: Final[tuple[Rule, ...]] = (
    _openai("model", MISSING, {"model": ABSENT}, "4 openai", "R", "you must provide a model parameter"),
    *basics(_openai, model_too=False),
    *vllm_ranges(_openai),
    _openai("stream_options", OPTIONS_ALONE, OPTIONS_SAMPLE, "4, vLLM family", "S", OPTIONS_SAID),
    _openai(
        "continue_final_message",
        when("true beside a prompt", lambda value, body: value is True and body.get("add_generation_prompt") is True),
        {"continue_final_message": True, "add_generation_prompt": True},
        "4, vLLM family; vllm@002032e, protocol.py: check_generation_prompt",
        "S",
        "Cannot set both `continue_final_message` and `add_generation_prompt` to True.",
        type="BadRequestError",
        code=400,
    ),
    # Its default is true too, but only the template is told of that, which has words of its own for the two.
    _openai(
        "continue_final_message",
        when("true, no word of a prompt", lambda value, body: value is True and "add_generation_prompt" not in body),
        {"continue_final_message": True},
        "4, vLLM family; vllm-project/router#64 and #65 of 2026-01",
        "I",
        "continue_final_message and add_generation_prompt are not compatible. Use continue_final_message when you want "
        "the model to continue the final message, and add_generation_prompt when you want to add a header that will "
        "prompt it to start a new assistant message instead.",
        type="BadRequestError",
        code=400,
    ),
)
