"""The shipped table, turned toward simulated providers, with one account that is down. Text in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

import yaml

DOWN_PROVIDER: Final = "groq-down"
DOWN_MODEL: Final = "llama-3.3-70b-down"
SHOWN_MODEL: Final = "meta-llama/Llama-3.3-70B-Instruct"
"""The model of the printed example: the account that is down stands first in its row."""


def demo_table(shipped: str, base_urls: Mapping[str, str], api_key: str) -> str:
    """`base_urls` by provider name. Providers without one are left out."""
    table: dict[str, Any] = yaml.safe_load(shipped)
    providers = {
        name: {**entry, "apiKey": api_key, "baseUrl": base_urls[name]}
        for name, entry in table["providers"].items()
        if name in base_urls
    }
    providers[DOWN_PROVIDER] = {"adapter": "groq", "apiKey": api_key, "baseUrl": base_urls["groq"]}
    table["providers"] = providers
    rows = table["models"][SHOWN_MODEL]["providersMapping"]
    # A copy of its own: the table takes no anchors, which are what YAML makes of a part that stands in two places.
    down = {**deepcopy(rows["groq"]), "providerModelId": DOWN_MODEL}
    table["models"][SHOWN_MODEL]["providersMapping"] = {DOWN_PROVIDER: down, **rows}
    return yaml.safe_dump(table, sort_keys=False, allow_unicode=True)
