"""OpenAI itself, and any server that speaks its dialect: vLLM, SGLang, TGI, llama.cpp.

Everything is forwarded, unknown fields too. What the server behind it can do is for its row of the table to say.
"""

from __future__ import annotations

from providers.base import OpenAICompatible
from providers.payload import MessageRules


class OpenAI(OpenAICompatible):
    """The dialect as it is."""

    messages = MessageRules(developer=True)
