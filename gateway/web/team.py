"""GET /v1/usage and GET /v1/requests/{id}: what a key's own team used, and what became of one of its requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.administration import wall_clock_ms
from gateway.reports import Reports
from gateway.tenants import Team
from gateway.web.admin import usage_response
from gateway.web.auth import Authenticator
from gateway.web.json_body import answering_errors, raw_headers
from gateway.web.responses import json_response

USAGE_PARAMETERS: Final = ("from", "to", "group_by", "format")


def team_routes(
    authenticator: Authenticator, reports: Reports, clock_ms: Callable[[], int] = wall_clock_ms
) -> list[Route]:
    """Needs a key with the scope `usage`. Whose objects are shown is the key's team alone; X-HF-Bill-To names nobody
    here, since who may bill a team may not read its books."""

    async def calling_team(request: Request) -> Team:
        headers = raw_headers(request)
        headers.pop(b"x-hf-bill-to", None)
        principal = await authenticator.principal(headers)
        authenticator.require_scope(principal, "usage")
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
        return json_response(await reports.story(request.path_params["request"], team=team, now_ms=clock_ms()))

    return [
        Route("/v1/usage", answering_errors(usage), methods=["GET"]),
        Route("/v1/requests/{request}", answering_errors(story), methods=["GET"]),
    ]
