"""What each real provider refuses, as one table; the simulated ones refuse by it and by nothing else.

A row names its evidence: the section of the provider wire formats (gathered 2026-11-23) and the mark of how
sure it is. Rows marked U are a choice where nothing is known: the stricter guess, as an adapter must survive
it. Order matters: the first broken row answers. The rows themselves are in `rows/`.
"""

from __future__ import annotations

from typing import Final

from gateway.simulator.rows.cerebras import CEREBRAS
from gateway.simulator.rows.cohere import COHERE
from gateway.simulator.rows.fireworks_ai import FIREWORKS
from gateway.simulator.rows.groq import GROQ
from gateway.simulator.rows.hf_inference import TGI
from gateway.simulator.rows.novita import NOVITA
from gateway.simulator.rows.sambanova import SAMBANOVA
from gateway.simulator.rows.together import TOGETHER
from gateway.simulator.rows.vllm_family import HYPERBOLIC, NEBIUS, NSCALE, OPENAI
from gateway.simulator.rules import Rule

STRICTNESS: Final[tuple[Rule, ...]] = (
    *CEREBRAS,
    *COHERE,
    *FIREWORKS,
    *GROQ,
    *TGI,
    *HYPERBOLIC,
    *NEBIUS,
    *NOVITA,
    *NSCALE,
    *OPENAI,
    *SAMBANOVA,
    *TOGETHER,
)

_BY_PROVIDER: Final = {
    name: tuple(rule for rule in STRICTNESS if rule.provider == name)
    for name in dict.fromkeys(rule.provider for rule in STRICTNESS)
}


def rules_of(provider: str) -> tuple[Rule, ...]:
    """A provider's rows, in order."""
    return _BY_PROVIDER.get(provider, ())
