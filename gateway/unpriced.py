"""Tells of tokens that a provider counts apart and that no price is for: each class once in the log, all in the
metrics. They are charged like the rest of what they are part of."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from gateway.metrics import Metrics

CLASSES_MAX: Final = 100
"""Names come from providers; what is beyond this many is counted together."""
OTHER: Final = "other"

log = logging.getLogger("gateway.unpriced")


class UnpricedTokens:
    """One per worker."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told: set[tuple[str, str]] = set()

    def tell(self, provider: str, classes: Iterable[tuple[str, int]]) -> None:
        """`classes`: names and counts, as in `Usage.unpriced`."""
        for name, tokens in classes:
            known = (provider, name) in self._told
            if not known and len(self._told) < CLASSES_MAX:
                self._told.add((provider, name))
                log.warning("%s counts %s, which no price in the mapping table is for", provider, name)
                known = True
            self._metrics.unpriced_tokens.labels(provider, name if known else OTHER).inc(tokens)
