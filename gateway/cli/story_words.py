"""The story of a request in sentences, for a terminal. Pure; from the same JSON that the API answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.routing.health import UNSEEN

Json = Mapping[str, Any]

_DRAWING: Final = ("fastest", "balanced")
"""Policies that leave something to chance."""
_ORDINALS: Final = ("no", "the first", "the second", "the third", "the fourth", "the fifth")


def story_words(story: Json) -> str:
    lines = [*_head(story), ""]
    decision = story["decision"]
    if decision is None:
        lines += ["Why it went there", *(f"  {line}" for line in _route_words(story["route"]))]
    else:
        lines += ["Why it went there", *(f"  {line}" for line in decision_words(decision))]
    return "\n".join([*lines, "", "What happened", *(f"  {line}" for line in _attempts(story))]) + "\n"


def _head(story: Json) -> Iterator[str]:
    label = "" if story["request_id"] == story["inference_id"] else f", which its caller calls {story['request_id']}"
    yield f"Request {story['inference_id']}{label}"
    yield f"  at {story['at']}, of team {story['team']}, with key {story['key']}, for {story['model']}"
    if story["tags"]:
        yield "  tagged " + ", ".join(f"{name}={value}" for name, value in story["tags"].items())
    yield f"  {_outcome(story)}"
    if any(attempt["answered"] for attempt in story["attempts"]):
        cost = "nobody knows a price" if story["cost_usd"] is None else f"${story['cost_usd']} charged"
        sure = ", by our own estimate" if story["estimated"] else ""
        yield f"  {_tokens(story)}: {cost}{sure}"
    yield f"  by table {story['generation']}"


def _outcome(story: Json) -> str:
    attempts: Sequence[Json] = story["attempts"]
    count = len(attempts)
    nth = _ORDINALS[count] if count < len(_ORDINALS) else f"number {count}"
    match story["state"]:
        case "answered" if attempts[-1]["goes_on"]:
            began = next(attempt for attempt in attempts if attempt["answered"])
            return f"begun by {began['provider']}, which broke off, and ended by {attempts[-1]['provider']}"
        case "answered":
            return f"answered by {attempts[-1]['provider']}, {nth} that was asked" if count > 1 else _answered(attempts)
        case "left":
            return "left by its caller before the end"
        case "refused":
            return f"refused {_refusal(story)}; nothing was sent to a provider"
        case "under way":
            return "not finished yet"
    return f"failed after {count} {'attempt' if count == 1 else 'attempts'}" if count else "failed; nobody was asked"


def _refusal(story: Json) -> str:
    status, code = story["refusal"]["status"], story["refusal"]["code"]
    answer = f" ({status} {code})" if code else f" ({status})" if status else ""
    route = story["route"]
    nobody = route is not None and not route["candidates"]
    return f"as nobody could be asked{answer}" if nobody else f"by a budget or a limit{answer}"


def _answered(attempts: Sequence[Json]) -> str:
    return f"answered by {attempts[-1]['provider']} at once" if attempts else "answered"


def _tokens(of: Json) -> str:
    cached = f" ({of['cached_tokens']} of them cached)" if of["cached_tokens"] else ""
    thought = f" ({of['reasoning_tokens']} of them reasoning)" if of["reasoning_tokens"] else ""
    return f"{of['prompt_tokens']} prompt tokens{cached}, {of['completion_tokens']} of the answer{thought}"


def _route_words(route: Json | None) -> Iterator[str]:
    """The short form, where the whole decision is not at hand."""
    if route is not None:
        yield f"The order was {_order(route['candidates'])}."
        if route["skipped"]:
            yield "Left out were " + ", ".join(f"{name} ({code})" for name, code in route["skipped"].items()) + "."
    yield "No more is kept on this host: the whole decision is in the journal of the host that served it."


def decision_words(decision: Json) -> Iterator[str]:
    """What was asked, the candidates in order with what was seen of them, and who was left out."""
    drawn = f"; the random number was {decision['draw']:.4f}" if decision["policy"] in _DRAWING else ""
    yield f"Policy {decision['policy']}, as {decision['policy_of']} says{drawn}."
    yield from _asked(decision)
    for number, candidate in enumerate(decision["candidates"], 1):
        facts = ", ".join(_facts(candidate, decision["policy"]))
        yield f"{number}. {candidate['provider']} as {candidate['provider_model']}: {facts}"
    if not decision["candidates"]:
        yield "Nobody could be asked."
    for skip in decision["skipped"]:
        yield f"-  {skip['provider']}: {skip['reason']}"


def _asked(decision: Json) -> Iterator[str]:
    if decision["alias"]:
        yield f"It was asked for as {decision['alias']}."
    if decision["pinned"]:
        yield f"Only {decision['pinned']} was asked for."
    needs = [name.lower().replace("_", " ") for name in decision["needs"]]
    tokens = decision["prompt_tokens"]
    room = f"room for at least {tokens} {'token' if tokens == 1 else 'tokens'} of the prompt"
    if decision["max_tokens"]:
        room += f" and {decision['max_tokens']} of an answer"
    yield f"It needs {', '.join([*needs, room])}."
    if decision["wishes"]:
        yield f"Its field `provider` says {_plain(decision['wishes'])}."
    for whose, what in decision["ceilings"].items():
        yield _ceiling(whose, what)


def _ceiling(whose: str, what: Any) -> str:
    if whose == "strict_budget":
        return "A strict budget pays for it."
    if whose == "providers":
        return f"Its key or team may use {' and '.join(', '.join(names) for names in what)} only."
    return f"The {whose}'s ceiling: {_plain(what)}."


def _plain(value: Any) -> str:
    """Values of JSON as one reads them aloud."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def price_words(price: Json | None) -> str:
    return "no price known" if price is None else f"${price['input']} in and ${price['output']} out a million tokens"


def _facts(candidate: Json, policy: str) -> Iterator[str]:
    if policy == "balanced":
        if candidate["score"] is not None:
            yield f"load {candidate['score']:.0f}"
        yield f"weight {candidate['weight']}"
    price, first_ms, speed = candidate["price"], candidate["first_content_ms"], candidate["tokens_per_s"]
    yield price_words(price)
    if first_ms is not None:
        yield f"first content after {first_ms:.0f} ms"
    elif speed is None:
        yield "nothing seen of its speed yet"
    if speed is not None:
        yield f"{speed:.0f} tokens/s"
    yield f"{candidate['in_flight']} under way"
    if candidate["state"] != UNSEEN.state:
        yield f"its breaker {candidate['state'].replace('_', ' ')}, asked as a probe"
    if candidate["error_rate"]:
        yield f"{candidate['error_rate']:.0%} of its latest attempts failed"
    if candidate["spared_s"]:
        yield f"near its rate limit for {candidate['spared_s']:.0f} s more"


def _attempts(story: Json) -> Iterator[str]:
    for number, attempt in enumerate(story["attempts"], 1):
        on = ", from there on" if attempt["goes_on"] else ""
        yield f"{number}. {attempt['at']}  {attempt['provider']}{on}: {_result(attempt)}"
        if attempt["answered"] or attempt["prompt_tokens"] or attempt["unknown"]:
            yield f"   {_bill(attempt)}"
        if attempt["dropped"]:
            yield f"   without {', '.join(attempt['dropped'])}, which it does not take"
    if not story["attempts"]:
        yield "Nothing was sent to a provider."


def _result(attempt: Json) -> str:
    status = "no answer" if attempt["status"] is None else str(attempt["status"])
    duration_ms = attempt["duration_ms"]
    when = f"after {duration_ms} ms" if duration_ms < 1000 else f"after {duration_ms / 1000:.1f} s"
    if attempt["failure"] is None:
        first_ms = attempt["first_content_ms"]
        first = "" if first_ms is None or first_ms == duration_ms else f", first content at {first_ms} ms"
        return f"{status}, done {when}{first}"
    return f"{status}, {attempt['failure'].replace('_', ' ')} {when}"


def _bill(attempt: Json) -> str:
    if attempt["unknown"]:
        return "what it used is not known"
    ours, theirs = attempt["cost_usd"], attempt.get("provider_cost_usd")
    parts = [_tokens(attempt) + (" (estimated)" if attempt["estimated"] else "")]
    parts.append("no price known" if ours is None else f"${ours} charged")
    if theirs is not None:
        parts.append(f"${theirs} to the provider")
    return ", ".join(parts)


def replay_words(replay: Json) -> str:
    kept, again = (_choice(replay[name]) for name in ("kept", "again"))
    if replay["same"]:
        return f"Made again from the entry alone, the choice is the same: {kept}.\n"
    return f"Made again from the entry alone, the choice is NOT the same: it was {kept}; it is {again}.\n"


def _choice(route: Json) -> str:
    """The order, and who was left out."""
    without = ", ".join(f"{name} ({code})" for name, code in route["skipped"].items())
    return f"{_order(route['candidates'])}{', without ' if without else ''}{without}"


def _order(names: Sequence[str]) -> str:
    return ", then ".join(names) or "nobody"
