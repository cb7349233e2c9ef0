"""Usage as rows: every grouping adds up to the total, in the contract's words, exact to the nano-dollar."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.moments import parse_moment
from gateway.periods import day_start_ms
from gateway.records import METRICS, ClosedEntry
from gateway.store.base import UsageCell
from gateway.tenants import Team
from gateway.usage_export import FIELDS, as_csv, as_jsonl, attempts
from gateway.usage_report import GROUPS, Report, Teams, UsageQuery, figures, read_query, report, whole_days, whole_hours

UTC = ZoneInfo("UTC")
NINE = parse_moment("2026-11-23T09:00:00Z")
HOUR_MS = 3_600_000
TEAMS = Teams.of(
    [
        Team(id="t_1", name="search", created_at_ms=0),
        Team(id="t_2", name="ads", created_at_ms=0, timezone="Asia/Kolkata"),
        Team(id="t_3", name="search", created_at_ms=0, deleted_at_ms=1),
    ],
    "UTC",
)


def cell(
    team: str = "t_1", start_ms: int = NINE, model: str = "m", provider: str = "groq", **counters: int
) -> UsageCell:
    return UsageCell(team, start_ms, "k1", model, provider, counters)


def ask(*groups: str, tag: str | None = None) -> UsageQuery:
    return UsageQuery(0, NINE + 100 * HOUR_MS, groups, tag)


def rows(found: Report) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = found.as_json(provider_costs=True)["data"]
    return data


def test_a_row_has_the_fields_of_the_contract_in_their_order() -> None:
    found = report(
        ask("team", "model"),
        TEAMS,
        [
            cell(
                requests=2,
                prompt_tokens=10,
                completion_tokens=5,
                charge_nano_usd=1,
                provider_cost_nano_usd=2_500_000_000,
            )
        ],
    )
    assert json.dumps(rows(found)) == json.dumps(
        [
            {
                "team": "search",
                "model": "m",
                "requests": 2,
                "failed_requests": 0,
                "prompt_tokens": 10,
                "cached_tokens": 0,
                "completion_tokens": 5,
                "reasoning_tokens": 0,
                "total_tokens": 15,
                "cost_usd": "0.000000001",
                "provider_cost_usd": "2.5",
                "estimated_requests": 0,
                "unknown_requests": 0,
                "unpriced_requests": 0,
                "lost_entries": 0,
            }
        ]
    )


def test_what_providers_bill_is_left_out_for_teams() -> None:
    found = report(ask(), TEAMS, [cell(requests=1, provider_cost_nano_usd=5)])
    answer = found.as_json(provider_costs=False)
    assert "provider_cost_usd" not in answer["total"]
    assert "provider_cost_usd" not in found.as_csv(provider_costs=False)


CELLS = st.lists(
    st.builds(
        UsageCell,
        st.sampled_from(["t_1", "t_2", "t_3", "t_9"]),
        st.integers(0, 400).map(lambda hour: NINE + hour * HOUR_MS),
        st.sampled_from(["k1", "k2"]),
        st.sampled_from(["m", "n"]),
        st.sampled_from(["", "groq"]),
        st.dictionaries(st.sampled_from(METRICS), st.integers(0, 10**15)),
    ),
    max_size=20,
)


@given(CELLS, st.lists(st.sampled_from(GROUPS), unique=True), st.data())
def test_the_rows_of_every_grouping_add_up_to_the_total(cells: list[UsageCell], groups: list[str], data: Any) -> None:
    tagged = [(data.draw(st.sampled_from(["x", "~other"])), entry) for entry in cells if data.draw(st.booleans())]
    found = report(ask(*groups, "tag", tag="project"), TEAMS, cells, tagged)
    for metric in METRICS:
        assert sum(sums[metric] for _, sums in found.rows) == found.total.get(metric, 0)
        assert found.total.get(metric, 0) == sum(entry.counters.get(metric, 0) for entry in cells)
    assert len({group for group, _ in found.rows}) == len(found.rows)


def test_days_and_hours_are_those_of_the_team() -> None:
    late = parse_moment("2026-11-23T20:30:00Z")
    found = report(ask("team", "day", "hour"), TEAMS, [cell("t_2", late, requests=1), cell("t_1", NINE, requests=1)])
    assert [(row["team"], row["day"], row["hour"]) for row in rows(found)] == [
        ("ads", "2026-11-24", "2026-11-24T02:00:00+05:30"),
        ("search", "2026-11-23", "2026-11-23T09:00:00Z"),
    ]


def test_a_deleted_teams_usage_is_told_from_that_of_its_successor() -> None:
    found = report(ask("team"), TEAMS, [cell("t_1", requests=1), cell("t_3", requests=2), cell("t_9", requests=3)])
    assert [(row["team"], row["requests"]) for row in rows(found)] == [("search", 1), ("search (t_3)", 2), ("t_9", 3)]


def test_what_carries_no_tag_is_a_row_of_its_own() -> None:
    found = report(
        ask("tag", tag="project"),
        TEAMS,
        [cell(requests=5, charge_nano_usd=50)],
        [("blue", cell(requests=2, charge_nano_usd=20)), ("red", cell(requests=1, charge_nano_usd=10))],
    )
    assert [(row["tag"], row["requests"], row["cost_usd"]) for row in rows(found)] == [
        ("blue", 2, "0.00000002"),
        ("red", 1, "0.00000001"),
        (None, 2, "0.00000002"),
    ]


def test_nothing_used_is_no_rows_and_a_total_of_zeros() -> None:
    answer = report(ask("team"), TEAMS, []).as_json(provider_costs=True)
    assert answer["data"] == []
    assert answer["total"] == figures({}, provider_costs=True)
    assert answer["total"]["cost_usd"] == "0"


def test_csv_has_a_line_a_row_and_runs_no_formula() -> None:
    found = report(ask("tag", "model", tag="x"), TEAMS, [cell(model="m", requests=1)], [("=1+1", cell(requests=1))])
    lines = found.as_csv(provider_costs=True).splitlines()
    assert lines[0].startswith("tag,model,requests,")
    assert lines[1].startswith("'=1+1,m,1,")
    assert len(lines) == 2


def test_the_default_period_is_this_month_until_now() -> None:
    now_ms = parse_moment("2026-11-23T12:34:56Z")
    query = read_query(from_text=None, to_text=None, group_by=None, now_ms=now_ms, zone=ZoneInfo("Europe/Berlin"))
    assert query == UsageQuery(parse_moment("2026-10-31T23:00:00Z"), now_ms + 1)


def test_a_period_and_groups_are_read_from_texts() -> None:
    query = read_query(
        from_text="2026-11-01", to_text="2026-11-02T12:00:00+01:00", group_by="day, tag:env,day", now_ms=NINE, zone=UTC
    )
    assert query == UsageQuery(parse_moment("2026-11-01"), parse_moment("2026-11-02T11:00:00Z"), ("day", "tag"), "env")


@pytest.mark.parametrize(
    ("texts", "param", "says"),
    [
        ({"from_text": "yesterday"}, "from", "ISO 8601"),
        ({"from_text": "2026-11-02", "to_text": "2026-11-02"}, "to", "later than from"),
        ({"group_by": "modle"}, "group_by", "'model'"),
        ({"group_by": "tag:A"}, "group_by", "tag:NAME"),
        ({"group_by": "tag:a,tag:b"}, "group_by", "at most one tag"),
        ({"group_by": "hour,tag:a"}, "group_by", "by day"),
    ],
)
def test_a_wrong_query_names_its_parameter(texts: dict[str, str], param: str, says: str) -> None:
    given_texts = {"from_text": None, "to_text": None, "group_by": None, **texts}
    with pytest.raises(InvalidRequest) as caught:
        read_query(**given_texts, now_ms=NINE, zone=UTC)
    assert caught.value.param == param
    assert says in caught.value.message


def test_a_period_is_widened_to_the_hours_that_it_touches() -> None:
    query = whole_hours(UsageQuery(NINE + 1, NINE + HOUR_MS + 1))
    assert query == UsageQuery(NINE, NINE + HOUR_MS + 1)
    assert whole_hours(query) == query


def test_an_hour_that_begins_at_half_past_is_in_one_month_only() -> None:
    november = UsageQuery(day_start_ms("2026-11-01", "Asia/Kolkata"), day_start_ms("2026-12-01", "Asia/Kolkata"), ())
    december = UsageQuery(day_start_ms("2026-12-01", "Asia/Kolkata"), day_start_ms("2027-01-01", "Asia/Kolkata"), ())
    first_hour_ms = day_start_ms("2026-12-01", "Asia/Kolkata")
    inside = [q for q in map(whole_hours, (november, december)) if q.from_ms <= first_hour_ms < q.to_ms]
    assert inside == [whole_hours(december)]


def test_a_query_by_tag_is_widened_to_whole_days_of_the_team() -> None:
    query = UsageQuery(parse_moment("2026-11-22T12:00:00Z"), NINE, ("tag",), "env")
    widened = whole_days(query, "Asia/Kolkata")
    assert widened.from_ms == parse_moment("2026-11-22T00:00:00+05:30")
    assert widened.to_ms == parse_moment("2026-11-24T00:00:00+05:30")
    assert whole_days(widened, "Asia/Kolkata") == widened


def entry(inference_id: str, number: int = 1, at_ms: int = NINE, **fields: Any) -> ClosedEntry:
    return ClosedEntry(
        kind="use", seq=1, prev=0, inference_id=inference_id, number=number, last=True, at_ms=at_ms, day="2026-11-23",
        team_id="t_1", key_id="k1", hub_model="m", provider="groq", provider_model="pm", request_id="r", **fields,
    )  # fmt: skip


def test_an_export_has_each_attempt_once_whether_shipped_or_not() -> None:
    kept = [entry("b", 2), entry("b", 1), entry("a", 0)]
    local = [entry("b", 2, prompt_tokens=99), entry("c", at_ms=NINE - 1), entry("d", at_ms=NINE + HOUR_MS)]
    found = attempts(kept, local, from_ms=NINE - 1, to_ms=NINE + HOUR_MS)
    assert [(one.inference_id, one.number, one.prompt_tokens) for one in found] == [
        ("c", 1, 0),
        ("b", 1, 0),
        ("b", 2, 0),
    ]
    assert attempts(kept, local, from_ms=0, to_ms=NINE * 2, team_ids=["t_2"]) == []


def test_an_exported_line_has_the_fields_of_the_contract() -> None:
    one = entry(
        "b", 2, status=200, answered=True, charge_nano_usd=None, provider_cost_nano_usd=5, tags={"b": "2", "a": "=1"}
    )
    [text] = as_jsonl([one], TEAMS.name)
    found = json.loads(text)
    assert tuple(found) == FIELDS
    assert (found["attempt_id"], found["at"], found["team"]) == ("b.2", "2026-11-23T09:00:00Z", "search")
    assert (found["cost_usd"], found["provider_cost_usd"]) == (None, "0.000000005")
    assert found["tags"] == {"b": "2", "a": "=1"}
    lines = as_csv([one], TEAMS.name).splitlines()
    assert lines[0] == ",".join(FIELDS)
    assert lines[1].endswith('false,false,"a==1,b=2"')
