"""Every adapter by the name of its provider, written out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from providers.base import Adapter
from providers.cerebras import Cerebras
from providers.cohere import Cohere
from providers.fireworks_ai import FireworksAI
from providers.groq import Groq
from providers.hf_inference import HfInference
from providers.hyperbolic import Hyperbolic
from providers.nebius import Nebius
from providers.novita import Novita
from providers.nscale import Nscale
from providers.openai import OpenAI
from providers.sambanova import SambaNova
from providers.together import Together

_ALL: Final[tuple[Adapter, ...]] = (
    Cerebras(),
    Cohere(),
    FireworksAI(),
    Groq(),
    HfInference(),
    Hyperbolic(),
    Nebius(),
    Novita(),
    Nscale(),
    OpenAI(),
    SambaNova(),
    Together(),
)

ADAPTERS: Final[Mapping[str, Adapter]] = MappingProxyType({adapter.name: adapter for adapter in _ALL})


def adapter_for(name: str) -> Adapter:
    """Raises KeyError with the names there are."""
    try:
        return ADAPTERS[name]
    except KeyError:
        raise KeyError(f"no adapter is called {name!r}; there are {', '.join(ADAPTERS)}") from None
