"""OpenAI itself, and any server that speaks its dialect: vLLM, SGLang, TGI, llama.cpp.

Everything is forwarded, unknown fields too. What the server behind it can do is for its row of the table to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from providers.base import OpenAICompatible
from providers.payload import MessageRules


class OpenAI(OpenAICompatible):
    """The dialect as it is."""

    messages = MessageRules(developer=True)
    # As vLLM and SGLang have it; the first of the two must go for the second.
    prefill: ClassVar[Mapping[str, Any] | None] = {"add_generation_prompt": False, "continue_final_message": True}
