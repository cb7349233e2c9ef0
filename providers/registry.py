"""Every adapter by the name of its provider, written out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from providers.base import Adapter
from providers.groq import Groq
from providers.openai import OpenAI

_ALL: Final[tuple[Adapter, ...]] = (
    Groq(),
    OpenAI(),
)

ADAPTERS: Final[Mapping[str, Adapter]] = MappingProxyType({adapter.name: adapter for adapter in _ALL})


def adapter_for(name: str) -> Adapter:
    """Raises KeyError with the names there are."""
    try:
        return ADAPTERS[name]
    except KeyError:
        raise KeyError(f"no adapter is called {name!r}; there are {', '.join(ADAPTERS)}") from None
