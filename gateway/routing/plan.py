"""Who is asked, in which order, and why everybody else is not.

A pure function of the ask, the catalog, the principal, what was seen of each offer, and one random number. The
plan it returns explains itself: to `gateway explain`, to the story of a request, and in the text of a refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gateway.ask import Ask
from gateway.config.catalog import Catalog, Offer
from gateway.errors import Forbidden, GatewayError, InvalidRequest, NoProviderAvailable, NotFound
from gateway.routing.candidate import Candidate, Skipped
from gateway.routing.fitness import unfit, unready
from gateway.routing.health import Seen
from gateway.routing.naming import Resolved
from gateway.routing.ordering import ordered
from gateway.tenants import Principal

Look = Callable[[Offer], Seen]

_SORT_POLICY: Final = {"price": "cheapest", "throughput": "fastest", "latency": "latency"}
"""What `provider.sort` means."""


@dataclass(frozen=True, slots=True)
class Plan:
    hub_model: str
    policy: str
    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...] = ()
    draw: float = 0.0
    """The random number that was used, in [0, 1)."""

    @property
    def silence_s(self) -> float | None:
        """How long until the first of those who asked for silence may be asked; None where nobody did."""
        return min((skip.ready_in_s for skip in self.skipped if skip.code == "cooling"), default=None)

    def as_json(self) -> dict[str, Any]:
        """What was decided and seen, for the journal and for `gateway explain`."""
        return {
            "model": self.hub_model,
            "policy": self.policy,
            "draw": self.draw,
            "candidates": [
                {"provider": c.offer.provider.name, "provider_model": c.offer.provider_model, **c.seen._asdict()}
                for c in self.candidates
            ],
            "skipped": [{"provider": s.provider, "code": s.code, "reason": s.reason} for s in self.skipped],
        }


def make_plan(
    ask: Ask,
    resolved: Resolved,
    catalog: Catalog,
    principal: Principal,
    look: Look,
    *,
    day: str,
    draw: float,
    in_flight: Callable[[str], int] = lambda provider: 0,
) -> Plan:
    """Ordered candidates and the reasons of all who are not. `day` (ISO) chooses among dated prices."""
    routing = catalog.routing
    wishes = ask.wishes
    policy = resolved.policy or _SORT_POLICY.get(wishes.sort or "", routing.policy)
    skipped = [Skipped(name, "unkeyed", catalog.left_out[name]) for name in resolved.model.left_out]
    lasting: list[Candidate] = []
    for offer in resolved.model.offers:
        reason = unfit(offer, ask, resolved, catalog, principal, day)
        if reason is None:
            lasting.append(Candidate(offer, look(offer)))
        else:
            skipped.append(reason)
    if not wishes.allow_fallbacks and len(lasting) > 1:
        # The first in order it is, well or not: to go elsewhere is what the caller forbade.
        first, *others = ordered(lasting, ask, catalog, policy, day, draw)
        lasting = [first]
        why = f"{first.offer.provider.name} comes first and provider.allow_fallbacks is false"
        skipped.extend(Skipped(other.offer.provider.name, "pin", why) for other in others)
    fit: list[Candidate] = []
    resting: list[Candidate] = []
    for candidate in lasting:
        reason = unready(candidate.offer, candidate.seen, in_flight)
        if reason is None:
            fit.append(candidate)
            continue
        if reason.code == "breaker":
            resting.append(candidate)
        skipped.append(reason)
    if not fit and resting:
        # Nobody is left: the soonest ready is tried rather than nobody, as its own probe.
        free = [candidate for candidate in resting if candidate.seen.probe_free]
        if free:
            chosen = min(free, key=lambda candidate: candidate.seen.ready_in_s)
            fit = [chosen]
            skipped = [s for s in skipped if not (s.code == "breaker" and s.provider == chosen.offer.provider.name)]
    fit = ordered(fit, ask, catalog, policy, day, draw)
    return Plan(resolved.model.id, policy, tuple(fit), tuple(skipped), draw)


def refusal(plan: Plan) -> GatewayError:
    """Why a plan without candidates has none, as the caller's answer."""
    # Who was passed over for want of being named says nothing about the one who was.
    telling = [skip for skip in plan.skipped if skip.code != "pin"]
    codes = {skip.code for skip in telling}
    reasons = "; ".join(f"{skip.provider}: {skip.reason}" for skip in telling)
    if codes & {"breaker", "cooling", "busy"}:
        soonest = min(skip.ready_in_s for skip in telling if skip.code in ("breaker", "cooling", "busy"))
        return NoProviderAvailable(
            f"No provider of {plan.hub_model} can be asked right now ({reasons}).", retry_after_s=max(1.0, soonest)
        )
    if "feature" in codes:
        return InvalidRequest(f"No provider of {plan.hub_model} supports what this request needs ({reasons}).")
    if "wish" in codes or "price" in codes:
        return InvalidRequest(
            f"The request rules out every provider of {plan.hub_model} ({reasons}).", param="provider"
        )
    if "access" in codes:
        return Forbidden(f"No provider of {plan.hub_model} may be used with this key ({reasons}).")
    return NotFound(f"The model {plan.hub_model!r} has no live provider here ({reasons}).", param="model")
