"""How each offer fares, from traffic alone: a breaker, running averages, what is in flight, who asked for silence.

One worker's own view, what it tells the other workers, and what it hears from them. Nobody is asked for the sake of
health. Times are monotonic seconds, given by the caller; this module asks no clock. `Retry-After` silences a
provider's account; a model that is being loaded only itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from gateway.config.catalog import Breaker, Offer, ProviderEntry
from gateway.routing.account_health import AccountHealth
from gateway.routing.breaker import State
from gateway.routing.health_board import AccountPost, BoardClock, OfferPost, Post
from gateway.routing.offer_health import OfferHealth
from providers.wire import Headers

OfferKey = tuple[str, str]
"""Provider name and provider model id."""


class Seen(NamedTuple):
    """What routing may know of one offer at one moment. Values only, so that a decision can be recomputed; kept as an
    array, so fields may only ever be appended."""

    state: str = State.CLOSED.value
    ready: bool = True
    """It may be asked now: closed, or half open with its probe free."""
    probe_free: bool = True
    """Where it is not closed: nobody is probing it."""
    ready_in_s: float = 0.0
    cooling_s: float = 0.0
    """The account asked for silence for this long."""
    in_flight: int = 0
    first_content_ms: float | None = None
    tokens_per_s: float | None = None
    has_room: bool = True
    """Fewer requests are under way at its account than the table allows."""
    error_rate: float = 0.0
    """Failures among the window's attempts."""
    spared_s: float = 0.0
    """The account is near its rate limit for this long."""
    barred: bool = False
    """It refused our key, and is out until the table is reloaded."""


UNSEEN: Final = Seen()
"""Of an offer that nobody has asked yet."""


STAGGER_S_MAX: Final = 0.5
"""Each worker has its own time up to this, by which it takes a probe later than the worker that opened the breaker."""


class HealthBook:
    """One worker's view. Single-threaded, like the loop that owns it.

    `stagger_s` is how much later than the worker that opened a breaker this one takes the probe: where each worker has
    its own, the others have heard of a probe before they would begin one.
    """

    def __init__(self, breaker: Breaker, *, stagger_s: float = 0.0) -> None:
        self.breaker = breaker
        self.stagger_s = stagger_s
        self.clock = BoardClock()
        self.on_news: Callable[[], None] = _nobody_hears
        """Called when the other workers should hear at once what happened."""
        self.on_room: Callable[[str], object] = _nobody_waits
        """Told the provider at which an attempt has ended."""
        self._offers: dict[OfferKey, OfferHealth] = {}
        self._accounts: dict[str, AccountHealth] = {}
        self._in_flight: dict[str, int] = {}
        self._offered: frozenset[OfferKey] | None = None
        self._loaded_ms = 0

    # What routing sees.

    def look(self, offer: Offer, now_s: float) -> Seen:
        provider = offer.provider
        health = self._offers.get((provider.name, offer.provider_model))
        account = self._accounts.get(provider.account)
        cooling_s = spared_s = 0.0
        barred = False
        has_room = provider.max_concurrency is None or self.has_room(provider)
        if account is not None:
            cooling_s = max(0.0, account.quiet_until_s - now_s)
            spared_s = max(0.0, account.spare_until_s - now_s)
            barred = account.barred
        if health is None:
            if cooling_s or spared_s or barred or not has_room:
                return Seen(cooling_s=cooling_s, has_room=has_room, spared_s=spared_s, barred=barred)
            return UNSEEN
        if health.quiet_until_s - now_s > cooling_s:
            cooling_s = health.quiet_until_s - now_s
        ready = probe_free = True
        ready_in_s = 0.0
        if health.state is not State.CLOSED:
            health.wait(now_s)
            probe_free = health.probe_free
            ready = probe_free and health.state is State.HALF_OPEN
            if health.state is State.OPEN:
                ready_in_s = health.ready_s - now_s
        first_content_ms, tokens_per_s = health.measured(now_s)
        return Seen(
            health.state.value,
            ready,
            probe_free,
            ready_in_s,
            cooling_s,
            health.in_flight,
            first_content_ms,
            tokens_per_s,
            has_room,
            health.error_rate(now_s, self.breaker),
            spared_s,
            barred or health.barred,
        )

    def admits(self, offer: Offer, now_s: float) -> bool:
        """Whether an attempt may begin now, as far as health goes."""
        seen = self.look(offer, now_s)
        return seen.ready and seen.cooling_s <= 0 and not seen.barred

    def in_flight(self, provider: str) -> int:
        """Attempts under way at one provider."""
        return self._in_flight.get(provider, 0)

    def has_room(self, provider: ProviderEntry) -> bool:
        """Whether one more attempt may be under way there."""
        bound = provider.max_concurrency
        return bound is None or self._in_flight.get(provider.name, 0) < bound

    def hold_room(self, provider: str) -> None:
        """Keeps one attempt's room for somebody who is about to begin it."""
        self._in_flight[provider] = self._in_flight.get(provider, 0) + 1

    def free_room(self, provider: str) -> None:
        """What was held is begun now, or not wanted any more."""
        self._in_flight[provider] -= 1

    def open_breakers(self) -> set[OfferKey]:
        """Those that are not closed."""
        return {key for key, health in self._offers.items() if health.state is not State.CLOSED}

    def refusing(self, providers: Iterable[ProviderEntry]) -> list[str]:
        """Which of these refused our key: their names, or `<provider>/<provider model>` for one model."""
        accounts = self._accounts
        names = [one.name for one in providers if one.account in accounts and accounts[one.account].barred]
        return [*names, *(f"{name}/{model}" for (name, model), health in self._offers.items() if health.barred)]

    # What attempts tell.

    def begin(self, offer: Offer, now_s: float) -> bool:
        """An attempt is about to be made. True where it is the probe of an offer that is not closed: then it says so
        when it ends."""
        health = self._of(offer)
        health.in_flight += 1
        self.hold_room(offer.provider.name)
        probe = health.take(now_s, self.breaker)
        if probe:
            self.on_news()
        return probe

    def answered(self, offer: Offer, now_s: float) -> None:
        """The probe has its answer, or the first content of it. The attempt itself ends with `succeed`, `fail` or
        `abandon`."""
        self._of(offer).pass_probe(now_s, self.clock)
        self.on_news()

    def succeed(
        self, offer: Offer, now_s: float, *, first_content_ms: float | None = None, tokens: int = 0, took_s: float = 0.0
    ) -> None:
        """The attempt ended well; `tokens` came in `took_s` seconds."""
        health = self._end(offer)
        health.count(now_s, self.breaker)
        if first_content_ms is not None or tokens:
            health.measure(now_s, first_content_ms, tokens, took_s)

    def fail(self, offer: Offer, now_s: float, *, blames: bool, probe: bool = False) -> None:
        """The attempt failed; `blames`: it counts against the provider."""
        health = self._end(offer)
        if probe and health.state is not State.CLOSED:
            if blames:
                health.fail_probe(now_s, self.breaker, self.clock)
            else:
                health.give_back()
            self.on_news()
        elif blames and health.on_trial:
            # One of those that had passed for good, most likely: it broke after its first content.
            health.fail_probe(now_s, self.breaker, self.clock)
            self.on_news()
        elif blames and health.state is State.CLOSED and health.count_failure(now_s, self.breaker, self.clock):
            self.on_news()

    def abandon(self, offer: Offer, *, probe: bool = False) -> None:
        """The attempt ended without telling anything about the provider: its caller left."""
        health = self._end(offer)
        if probe:
            health.give_back()
            self.on_news()

    def cool(self, offer: Offer, until_s: float) -> None:
        """The offer's account asked for silence until then."""
        self._account(offer.provider.account).cool(until_s, self.clock)
        self.on_news()

    def cool_offer(self, offer: Offer, until_s: float) -> None:
        """Only this model asked for silence: it is being loaded."""
        self._of(offer).cool(until_s, self.clock)
        self.on_news()

    def bar(self, offer: Offer, now_s: float, *, whole_account: bool) -> bool:
        """Our key was refused, for everything or for this model. False where that was known."""
        barred = self._account(offer.provider.account) if whole_account else self._of(offer)
        if not barred.bar(now_s, self.clock):
            return False
        self.on_news()
        return True

    def use_table(self, breaker: Breaker, offers: Iterable[Offer]) -> None:
        """What else was offered is forgotten, and not heard of from workers with another table."""
        self.breaker = breaker
        offers = list(offers)
        offered = self._offered = frozenset((offer.provider.name, offer.provider_model) for offer in offers)
        self._offers = {key: one for key, one in self._offers.items() if key in offered or one.in_flight}
        accounts = {offer.provider.account for offer in offers}
        self._accounts = {name: one for name, one in self._accounts.items() if name in accounts}

    def reloaded(self, now_s: float) -> None:
        """The table was read anew: whoever refused a key is asked again."""
        self._loaded_ms = self.clock.ms(now_s)
        for account in self._accounts.values():
            account.unbar()
        for health in self._offers.values():
            health.unbar()
        self.on_news()

    def read_limits(self, offer: Offer, headers: Headers, now_s: float) -> None:
        """What an answer's headers say of the account's rate limits; looked at seldom while much is left."""
        account = self._account(offer.provider.account)
        if now_s >= account.limits_due_s:
            limits = offer.provider.adapter.rate_limits(headers)
            if account.read(limits, now_s, self.clock):
                self.on_news()

    # What workers tell each other.

    def post(self, now_s: float) -> Post:
        """What the others should know."""
        offers = {f"{name}/{model}": health.post(now_s, self.breaker) for (name, model), health in self._offers.items()}
        accounts = {name: account.post(now_s) for name, account in self._accounts.items()}
        return Post(
            {name: said for name, said in offers.items() if said != _NOTHING_OF_OFFER},
            {name: told for name, told in accounts.items() if told != _NOTHING_OF_ACCOUNT},
        )

    def hear(self, posts: Iterable[Post], now_s: float) -> None:
        """What all the others say now. Who is no longer among them has no say any more."""
        of_offers: dict[OfferKey, list[OfferPost]] = {key: [] for key in self._offers}
        of_accounts: dict[str, list[AccountPost]] = {name: [] for name in self._accounts}
        for post in posts:
            for name, said in post.offers.items():
                provider, _, model = name.partition("/")
                if self._offered is None or (provider, model) in self._offered:
                    of_offers.setdefault((provider, model), []).append(said)
            for name, told in post.accounts.items():
                of_accounts.setdefault(name, []).append(told)
        loaded_ms = self._loaded_ms
        for key, all_said in of_offers.items():
            self._of_key(key).hear(
                all_said, now_s, self.breaker, self.clock, loaded_ms=loaded_ms, stagger_s=self.stagger_s
            )
        for name, all_told in of_accounts.items():
            self._account(name).hear(all_told, now_s, self.clock, loaded_ms)

    def _end(self, offer: Offer) -> OfferHealth:
        health = self._of(offer)
        health.in_flight -= 1
        self.free_room(offer.provider.name)
        self.on_room(offer.provider.name)
        return health

    def _of(self, offer: Offer) -> OfferHealth:
        return self._of_key((offer.provider.name, offer.provider_model))

    def _of_key(self, key: OfferKey) -> OfferHealth:
        health = self._offers.get(key)
        if health is None:
            health = self._offers[key] = OfferHealth()
        return health

    def _account(self, name: str) -> AccountHealth:
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = AccountHealth()
        return account


_NOTHING_OF_OFFER: Final = OfferPost()
_NOTHING_OF_ACCOUNT: Final = AccountPost()


def _nobody_hears() -> None:
    pass


def _nobody_waits(provider: str) -> None:
    pass
