"""What the simulators were asked and what they reported: the other side of the gateway's books.

A count goes up when the bytes that name it are handed to the socket, not when they are planned.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Final

from gateway.simulator.wire import Tally

REQUESTS_KEPT: Final = 1000
SECRET_HEADERS: Final = frozenset({"authorization", "x-api-key", "api-key", "cookie"})


@dataclass(slots=True)
class Account:
    """Sums of one provider's model. Token sums hold the last usage of each answer, as the wire had it."""

    requests: int = 0
    answered: int = 0
    """Answers with status 200 that were sent whole."""
    refused: int = 0
    """Answers with another status."""
    interrupted: int = 0
    """Answers that were cut, failed inside the stream, or never begun, by the simulator's own doing."""
    abandoned: int = 0
    """Answers whose reader hung up."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0

    def replace(self, old: Tally | None, new: Tally) -> None:
        """Count `new` for an answer that had reported `old` before."""
        before = old or Tally(0, 0, 0, 0)
        self.prompt_tokens += new.prompt_tokens - before.prompt_tokens
        self.cached_tokens += new.cached_tokens - before.cached_tokens
        self.completion_tokens += new.completion_tokens - before.completion_tokens
        self.reasoning_tokens += new.reasoning_tokens - before.reasoning_tokens


class Ledger:
    """Accounts by provider and model, and the last requests without their credentials."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, str], Account] = {}
        self._requests: deque[dict[str, Any]] = deque(maxlen=REQUESTS_KEPT)

    def account(self, provider: str, model: str) -> Account:
        """The account of a provider's model, opened when it is new."""
        return self._accounts.setdefault((provider, model), Account())

    def note(self, provider: str, path: str, headers: dict[str, str], body: object) -> None:
        """Keep a request for `GET /__sim__/requests`."""
        kept = {name: value for name, value in headers.items() if name not in SECRET_HEADERS}
        self._requests.append({"provider": provider, "path": path, "headers": kept, "body": body})

    def clear(self) -> None:
        """Forget everything."""
        self._accounts.clear()
        self._requests.clear()

    def stats(self) -> dict[str, dict[str, dict[str, int]]]:
        """`{provider: {model: counts}}`."""
        view: dict[str, dict[str, dict[str, int]]] = {}
        for (provider, model), account in sorted(self._accounts.items()):
            view.setdefault(provider, {})[model] = asdict(account)
        return view

    def requests(self) -> list[dict[str, Any]]:
        """The last requests, oldest first."""
        return list(self._requests)
