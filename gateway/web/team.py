"""GET /v1/usage, GET /v1/requests/{id} and POST /v1/billing/costs: what a key's own team used, what became of one of
its requests, and what requests cost, in the form in which Hugging Face asks its providers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.administration import wall_clock_ms
from gateway.errors import InvalidRequest
from gateway.reports import Reports
from gateway.tenants import Team
from gateway.web.admin import usage_response
from gateway.web.auth import Authenticator
from gateway.web.json_body import answering_errors, raw_headers, read_json
from gateway.web.responses import json_response

COSTS_ASKED_MAX: Final = 10_000
USAGE_PARAMETERS: Final = ("from", "to", "group_by", "format")


def team_routes(
    authenticator: Authenticator, reports: Reports, clock_ms: Callable[[], int] = wall_clock_ms
) -> list[Route]:
    """Needs a key with the scope `usage`; costs are told to any key. Whose objects are shown is the key's team alone:
    X-HF-Bill-To names nobody here, since who may bill a team may not read its books."""

    async def calling_team(request: Request, scope: str | None = "usage") -> Team:
        headers = raw_headers(request)
        headers.pop(b"x-hf-bill-to", None)
        principal = await authenticator.principal(headers)
        if scope is not None:
            authenticator.require_scope(principal, scope)
        return principal.team

    async def usage(request: Request) -> Response:
        team = await calling_team(request)
        return await usage_response(
            request,
            reports,
            now_ms=clock_ms(),
            team_ids=[team.id],
            provider_costs=False,
            parameters=USAGE_PARAMETERS,
        )

    async def story(request: Request) -> Response:
        team = await calling_team(request)
        found = await reports.story(request.path_params["request"], team=team, now_ms=clock_ms())
        return json_response(found.as_json(provider_costs=False))

    async def costs(request: Request) -> Response:
        team = await calling_team(request, scope=None)
        found = await reports.costs(_request_ids(await read_json(request)), team, clock_ms())
        return json_response({"requests": [{"requestId": one, "costNanoUsd": cost} for one, cost in found.items()]})

    return [
        Route("/v1/usage", answering_errors(usage), methods=["GET"]),
        Route("/v1/requests/{request}", answering_errors(story), methods=["GET"]),
        Route("/v1/billing/costs", answering_errors(costs), methods=["POST"]),
    ]


def _request_ids(body: object) -> list[str]:
    """`requestIds` of a question for costs: inference ids of ours."""
    asked = body.get("requestIds") if isinstance(body, dict) else None
    if not isinstance(asked, list) or not all(isinstance(one, str) for one in asked) or len(asked) > COSTS_ASKED_MAX:
        raise InvalidRequest(f"requestIds must be a list of at most {COSTS_ASKED_MAX} texts", param="requestIds")
    return list(dict.fromkeys(asked))
