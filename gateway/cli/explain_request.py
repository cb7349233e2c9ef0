"""`gateway explain --request ID`: why one request went where it went, and whether the same would be chosen again.

What the store keeps for a week is found from anywhere; the decision itself where the journal is.
"""

from __future__ import annotations

import re
import sys
from typing import Any, Final

from gateway.administration import wall_clock_ms
from gateway.cli.failure import CliFailure
from gateway.cli.output import print_json
from gateway.cli.storage import JOURNAL_FOLDER, settings_of_environment, with_store, zone_of_table
from gateway.cli.story_words import replay_words, story_words
from gateway.errors import NotFound
from gateway.journal.local import LocalJournals
from gateway.reports import Reports
from gateway.routing.decision import Decision, is_the_same, replay, route_of
from gateway.routing.telling import route_view
from gateway.store.base import Store, StoreAway
from gateway.story import Story

DIFFERS: Final = 3
"""The exit code where a replay chooses otherwise."""
_INFERENCE_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def run_request(request: str, *, team: str | None, again: bool, as_json: bool) -> int:
    """With `team`, a caller's own request id is understood, too. `again`: make the choice once more."""
    if team is None and not _INFERENCE_ID.fullmatch(request):
        raise CliFailure(f"{request[:128]!r} is no inference-id; with --team a caller's own id is understood, too")
    settings = settings_of_environment()
    zone = zone_of_table(settings)
    journals = LocalJournals(settings.state_dir / JOURNAL_FOLDER)

    async def ask(store: Store) -> Story:
        reports = Reports(store, lambda: zone, journals)
        try:
            asking = None
            if team is not None and (asking := await store.find_team(team)) is None:
                raise NotFound(f"there is no team {team!r}; `gateway teams list` shows all")
            return await reports.story(request, team=asking, now_ms=wall_clock_ms())
        except StoreAway as away:
            story = await reports.story_here(request)
            if story is None:
                raise
            sys.stderr.write(f"note: the store cannot be asked ({away.reason}): told by this host's journals alone\n")
            return story

    story = with_store(settings, ask)
    view = story.as_json(provider_costs=True)
    if not again:
        print_json(view) if as_json else sys.stdout.write(story_words(view))
        return 0
    decision = story.decision
    if decision is None:
        raise CliFailure(
            f"the decision about {story.head.inference_id} is not kept on this host, so it cannot be made again; "
            "ask on the host that served it, with its GATEWAY_STATE_DIR",
            1,
        )
    made = _replay_view(decision)
    print_json({**view, "replay": made}) if as_json else sys.stdout.write(replay_words(made))
    return 0 if made["same"] else DIFFERS


def _replay_view(decision: Decision) -> dict[str, Any]:
    """What was kept, and what routing makes of the same situation now."""
    again = replay(decision)
    route = route_of(decision.situation.offering, again)
    return {"same": is_the_same(decision, again), "kept": route_view(decision.route), "again": route_view(route)}
