"""What every simulated provider does in the same order, and the values in which each one says how it differs.

A provider is a `House`: its paths, its habits as functions, its refusals. `serve` takes a request through
key, JSON, strictness table, model and context to an answer. No sockets, no clock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.simulator.answers import IMAGE_TOKENS, Answer, compose
from gateway.simulator.ask import Ask, from_openai
from gateway.simulator.rules import first_broken
from gateway.simulator.strictness import rules_of
from gateway.simulator.wire import Chunk, Credential, Problem, SimAnswer, SimRequest

CONTEXT_TOKENS: Final = 131_072
_UNKNOWN_MODEL: Final = re.compile(r"no-such-model|unknown|non-existent", re.I)
"""Every id of the right form is served but these, so that a mapping may name models we never heard of."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A request that will be answered, with the answer and all that ids are made of."""

    request: SimRequest
    body: Mapping[str, Any]
    model: str
    ask: Ask
    answer: Answer

    @property
    def token(self) -> str:
        """32 hex digits of this request."""
        return self.request.token

    @property
    def created_s(self) -> int:
        """Whole seconds since 1970."""
        return int(self.request.now_s)

    @property
    def uuid(self) -> str:
        """The token in the form of a UUID."""
        t = self.token
        return f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}"

    @property
    def completion_tokens(self) -> int:
        """Of all choices together."""
        return self.answer.completion_tokens * self.ask.choices

    def switch(self, name: str, usual: str) -> str:
        """Which of its habits the provider shows."""
        return self.request.switches.get(name, usual)


def _no_headers(_turn: Turn) -> dict[str, str]:
    return {}


def _never(_turn: Turn) -> Problem | None:
    return None


@dataclass(frozen=True, slots=True)
class House:
    """One provider. Functions are pure."""

    name: str
    chat: re.Pattern[str]
    """Path of chat; a group `model` is the model when the path holds it."""
    listing: re.Pattern[str]
    """Path of the model list."""
    models: tuple[str, ...]
    """Ids in the model list; more are served."""
    id_form: re.Pattern[str]
    """What a model id of this provider looks like."""
    list_body: Callable[[House, re.Match[str]], Mapping[str, Any] | list[Any]]
    refusal: Callable[[Problem, SimRequest], SimAnswer]
    plain: Callable[[Turn], Mapping[str, Any]]
    stream: Callable[[Turn], Iterable[Chunk]]
    failing: Callable[[Problem], tuple[Chunk, ...]]
    """How it fails inside a stream."""
    faults: Mapping[str, Problem]
    """Refusals by status and by name; `401`, `model` and `context` are always there. With a `415` only bodies
    that say they are JSON are read."""
    ask: Callable[[Mapping[str, Any], SimRequest], Ask] = lambda body, _request: from_openai(body)
    headers: Callable[[Turn], Mapping[str, str]] = _no_headers
    unsayable: Callable[[Turn], Problem | None] = _never
    """What the model said and the server could not make an answer of; plain answers only."""
    image_tokens: int = IMAGE_TOKENS
    calls_max: int | None = None
    spaced: bool = False
    late_forms: frozenset[str] = frozenset()
    """Forms of refusal that a stream reports inside HTTP 200."""
    clamps: bool = False
    """A prompt and cap over the context lower the cap instead of being refused."""
    body_max_bytes: int | None = None


_SAID: Final = {
    404: "Not found",
    405: "Method not allowed",
    408: "Request timed out",
    429: "Rate limit exceeded",
    500: "Internal server error",
    502: "Bad gateway",
    503: "Service unavailable",
    504: "Gateway timeout",
}


def fault(house: House, request: SimRequest, named: str, retry_after_s: float | None = None) -> SimAnswer:
    """The provider's refusal by status (`"503"`) or by name (`"context"`), whatever was asked."""
    problem = house.faults.get(named)
    if problem is None:
        status = int(named) if named.isdigit() else 500
        problem = Problem(status, _SAID.get(status, f"Simulated fault {named}"))
    if problem.form in house.late_forms and _streams(request):
        return SimAnswer(200, chunks=house.failing(problem))
    answer = house.refusal(problem, request)
    if retry_after_s is None:
        return answer
    return replace(answer, headers={**answer.headers, "retry-after": f"{retry_after_s:g}"})


def _streams(request: SimRequest) -> bool:
    """Whether a request, good or bad, asks for a stream."""
    try:
        body = json.loads(request.body)
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("stream") is True


def serve(house: House, request: SimRequest) -> SimAnswer:
    """Answer one request as this provider would."""
    chat, listing = house.chat.fullmatch(request.path), house.listing.fullmatch(request.path)
    if not chat and not listing:
        return fault(house, request, "404")
    if request.method != ("POST" if chat else "GET"):
        return fault(house, request, "405")
    if request.credential is not Credential.ACCEPTED:
        missing = request.credential is Credential.MISSING and "no key" in house.faults
        return fault(house, request, "no key" if missing else "401")
    if listing:
        return SimAnswer(200, house.list_body(house, listing))
    assert chat is not None
    return _converse(house, request, chat.groupdict().get("model"))


def _converse(house: House, request: SimRequest, path_model: str | None) -> SimAnswer:
    if house.body_max_bytes is not None and len(request.body) > house.body_max_bytes:
        return fault(house, request, "413")
    if "415" in house.faults and not request.headers.get("content-type", "").startswith("application/json"):
        return fault(house, request, "415")
    try:
        body = json.loads(request.body)
    except ValueError:
        return house.refusal(Problem(400, "The body is not valid JSON", form="syntax"), request)
    if not isinstance(body, dict):
        return house.refusal(Problem(400, "The body is not a JSON object", form="syntax"), request)
    model = path_model or str(body.get("model", ""))
    broken = first_broken(rules_of(house.name), body, request.switches)
    if broken is not None:
        rule = broken.rule
        problem = Problem(
            rule.status, broken.message, rule.code, rule.type, broken.place, rule.form, given=broken.value
        )
        return _refuse(house, request, problem, body, model)
    if not house.id_form.fullmatch(model) or _UNKNOWN_MODEL.search(model):
        named = replace(house.faults["model"], message=house.faults["model"].message.format(model=model))
        return house.refusal(named, request)
    return _answer(house, request, body, model)


def _refuse(house: House, request: SimRequest, problem: Problem, body: Mapping[str, Any], model: str) -> SimAnswer:
    """A refusal, inside a stream of status 200 where the provider reports it there."""
    if body.get("stream") is True and problem.form in house.late_forms:
        return SimAnswer(200, chunks=house.failing(problem), model=model)
    return replace(house.refusal(problem, request), model=model if house.id_form.fullmatch(model) else "")


def _answer(house: House, request: SimRequest, body: Mapping[str, Any], model: str) -> SimAnswer:
    ask = replace(house.ask(body, request), words=request.words)
    try:
        answer = compose(ask, image_tokens=house.image_tokens, calls_max=house.calls_max)
    except ValueError as err:
        return house.refusal(Problem(400, f"Invalid schema: {err}", type="invalid_request_error"), request)
    room = CONTEXT_TOKENS - answer.prompt_tokens
    if room < max(ask.max_tokens or 1, 1):
        if not house.clamps or room < 1:
            return _refuse(house, request, house.faults["context"], body, model)
        ask = replace(ask, max_tokens=room)
        answer = compose(ask, image_tokens=house.image_tokens, calls_max=house.calls_max)
    turn = Turn(request, body, model, ask, answer)
    failing = house.failing(house.faults.get("stream") or Problem(500, _SAID[500], type="internal_error"))
    dressed = SimAnswer(200, headers=house.headers(turn), failing=failing, spaced=house.spaced, model=model)
    if ask.stream:
        return replace(dressed, chunks=tuple(house.stream(turn)))
    unsayable = house.unsayable(turn)
    if unsayable is not None:
        return replace(house.refusal(unsayable, request), model=model)
    return replace(dressed, body=house.plain(turn))


def openai_list(house: House, _path: re.Match[str]) -> Mapping[str, Any]:
    """The model list most of them share."""
    data = [{"id": m, "object": "model", "created": 1_750_000_000, "owned_by": house.name} for m in house.models]
    return {"object": "list", "data": data}


def path(text: str) -> re.Pattern[str]:
    """A pattern of exactly this path, with or without a slash at its end."""
    return re.compile(re.escape(text) + "/?")


HUB_ID: Final = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
"""`org/name`, as most providers of open models call theirs."""
SLUG: Final = re.compile(r"[A-Za-z0-9_.-]+")
"""A bare name without organisation."""
