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
from gateway.simulator.rules import ABSENT, MISSING, PRESENT, Rule

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
)
