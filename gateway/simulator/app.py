"""The ASGI application of all simulated providers at once, each below a prefix of its own name.

Reads a request, asks the script for the behaviour and the provider's module for the answer, and hands both to
`sending.py`. `/__sim__/` holds the controls of tests: control, stats, requests, reset.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.simulator.behaviour import Behaviour, UnknownBehaviour, from_mapping, parse
from gateway.simulator.house import House, fault, serve
from gateway.simulator.ledger import Ledger
from gateway.simulator.registry import HOUSES
from gateway.simulator.script import ANY, Script
from gateway.simulator.sending import Sending
from gateway.simulator.wire import Credential, SimAnswer, SimRequest

HEADER: Final = "x-sim-behaviour"
KEY_PREFIXES: Final = ("sim-",)


class Simulators:
    """All providers, their script and their ledger."""

    def __init__(self, key_prefixes: tuple[str, ...] = KEY_PREFIXES) -> None:
        self.script = Script()
        self.ledger = Ledger()
        self._key_prefixes = key_prefixes

    async def provider(self, request: Request) -> Any:
        """Anything below `/{provider}/`."""
        name = request.path_params["provider"]
        house = HOUSES.get(name)
        if house is None:
            return JSONResponse({"error": f"no simulated provider {name}; there are {', '.join(HOUSES)}"}, 404)
        body = await request.body()
        parsed = _parsed(body)
        self.ledger.note(name, "/" + request.path_params["rest"], dict(request.headers), parsed)
        model = _model(house, "/" + request.path_params["rest"], parsed)
        try:
            given = request.headers.get(HEADER)
            behaviour = self.script.next(name, model) if given is None else parse(given)
        except UnknownBehaviour as err:
            return JSONResponse({"error": str(err)}, 400)
        sim_request = SimRequest(
            method=request.method,
            path="/" + request.path_params["rest"],
            headers=dict(request.headers),
            body=body,
            credential=self._credential(request.headers.get("authorization")),
            token=secrets.token_hex(16),
            now_s=time.time(),
            switches=behaviour.switches,
            words=behaviour.words,
        )
        answer = _answer(house, sim_request, behaviour)
        account = self.ledger.account(name, answer.model or model)
        account.requests += 1
        return Sending(answer, behaviour, account)

    def _credential(self, header: str | None) -> Credential:
        if not header:
            return Credential.MISSING
        kind, _, key = header.partition(" ")
        accepted = kind.lower() == "bearer" and key.startswith(self._key_prefixes)
        return Credential.ACCEPTED if accepted else Credential.WRONG

    async def control(self, request: Request) -> Response:
        """`{"provider", "model", "behaviour", "times"}`, or `"script"`: a list of behaviours, one a request."""
        try:
            given = await request.json()
            provider, model = given.get("provider", ANY), given.get("model", ANY)
            if provider != ANY and provider not in HOUSES:
                raise UnknownBehaviour(f"no simulated provider {provider}")
            if "script" in given:
                entries = [(_behaviour(entry), 1) for entry in given["script"]]
            else:
                entries = [(_behaviour(given.get("behaviour", {})), given.get("times"))]
        except (ValueError, TypeError, AttributeError) as err:
            return JSONResponse({"error": str(err)}, 400)
        self.script.set(provider, model, entries)
        return JSONResponse({"provider": provider, "model": model, "script": [asdict(b) for b, _ in entries]})

    async def stats(self, _request: Request) -> Response:
        """What was reported, by provider and model."""
        return JSONResponse(self.ledger.stats())

    async def requests(self, request: Request) -> Response:
        """The last requests, of one provider when `?provider=` names it."""
        wanted = request.query_params.get("provider")
        kept = self.ledger.requests()
        return JSONResponse([entry for entry in kept if wanted in (None, entry["provider"])])

    async def reset(self, _request: Request) -> Response:
        """Forget scripts, counts and requests."""
        self.script.clear()
        self.ledger.clear()
        return JSONResponse({})


def create_app(simulators: Simulators | None = None) -> Starlette:
    """The application; `simulators` gives direct access to script and ledger."""
    held = simulators or Simulators()
    return Starlette(
        routes=[
            Route("/__sim__/control", held.control, methods=["POST"]),
            Route("/__sim__/stats", held.stats),
            Route("/__sim__/requests", held.requests),
            Route("/__sim__/reset", held.reset, methods=["POST"]),
            Route("/{provider}/{rest:path}", held.provider, methods=["GET", "POST", "PUT", "DELETE"]),
        ]
    )


def _behaviour(given: Any) -> Behaviour:
    return parse(given) if isinstance(given, str) else from_mapping(given)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode(errors="replace")


def _model(house: House, path: str, body: Any) -> str:
    """The model a request names, before anything is checked."""
    chat = house.chat.fullmatch(path)
    in_path = chat.groupdict().get("model") if chat else None
    return in_path or (str(body.get("model", "")) if isinstance(body, Mapping) else "")


def _answer(house: House, request: SimRequest, behaviour: Behaviour) -> SimAnswer:
    """The provider's answer, or the refusal the behaviour wants."""
    named = behaviour.fault
    if behaviour.rate_limit:
        named = "429"
    if behaviour.status not in (None, 200):
        named = str(behaviour.status)
    if named:
        return fault(house, request, named, behaviour.retry_after_s)
    return serve(house, request)
