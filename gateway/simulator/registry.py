"""The simulated providers by name, written out, and where their servers would have their base URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.simulator.house import House
from gateway.simulator.providers import (
    cerebras,
    cohere,
    fireworks_ai,
    groq,
    hf_inference,
    hyperbolic,
    nebius,
    novita,
    nscale,
    openai,
    sambanova,
    together,
)

HOUSES: Final[Mapping[str, House]] = {
    "cerebras": cerebras.HOUSE,
    "cohere": cohere.HOUSE,
    "fireworks-ai": fireworks_ai.HOUSE,
    "groq": groq.HOUSE,
    "hf-inference": hf_inference.HOUSE,
    "hyperbolic": hyperbolic.HOUSE,
    "nebius": nebius.HOUSE,
    "novita": novita.HOUSE,
    "nscale": nscale.HOUSE,
    "openai": openai.HOUSE,
    "sambanova": sambanova.HOUSE,
    "together": together.HOUSE,
}
"""Every simulated provider."""

BASE_PATHS: Final[Mapping[str, str]] = {
    "cerebras": "/cerebras/v1",
    "cohere": "/cohere/v2",
    "fireworks-ai": "/fireworks-ai/inference/v1",
    "groq": "/groq/openai/v1",
    "hf-inference": "/hf-inference",
    "hyperbolic": "/hyperbolic/v1",
    "nebius": "/nebius/v1",
    "novita": "/novita/v3/openai",
    "nscale": "/nscale/v1",
    "openai": "/openai/v1",
    "sambanova": "/sambanova/v1",
    "together": "/together/v1",
}
"""Append to `http://host:port` for the base URL of a provider's adapter."""
