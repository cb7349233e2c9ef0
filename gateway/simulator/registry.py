"""The simulated providers by name, written out, and where their servers would have their base URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.simulator.house import House
from gateway.simulator.providers import cerebras, groq, openai, together

HOUSES: Final[Mapping[str, House]] = {
    "cerebras": cerebras.HOUSE,
    "groq": groq.HOUSE,
    "openai": openai.HOUSE,
    "together": together.HOUSE,
}

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
