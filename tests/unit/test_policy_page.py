"""The table of failures as it is published and as it is followed."""

from __future__ import annotations

import re

from gateway.routing.policy import POLICY, Move, Rule
from providers.wire import FailureKind
from tests.architecture import ROOT

THEN = {
    "nobody: the caller gets a 400 that names the provider": Move.STOP,
    "one with a larger window; without one the caller gets the 400": Move.LARGER,
    "the next": Move.NEXT,
    "nobody, as no time is left": Move.NEXT,
}
AGAIN = {
    "no": (False, False),
    "where nobody is left": (True, False),
    "after a `Retry-After` of at most `retryAfterWait`": (True, True),
}


def test_the_published_table_is_the_one_that_is_followed() -> None:
    page = (ROOT / "docs" / "failures.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", page, re.MULTILINE)
    assert [name for name, *_ in rows] == [kind.value for kind in POLICY]
    for name, _, then, again in rows:
        rule: Rule = POLICY[FailureKind(name)]
        assert (THEN[then], *AGAIN[again]) == (rule.move, rule.same_offer, rule.cools), name
