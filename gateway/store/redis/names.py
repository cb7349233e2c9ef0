"""Every key in Redis, in one place.

All keys of a team share the hash tag of its id, so that a script that touches several of them runs in one slot of a
cluster; what is looked up before a team is known shares another. Ids are immutable, names never get here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TeamNames:
    """The keys of one team."""

    prefix: str
    team_id: str

    def _key(self, rest: str) -> str:
        return f"{self.prefix}:{{{self.team_id}}}:{rest}"

    def watermark(self, instance: str) -> str:
        """String: the last sequence of this journal that was applied."""
        return self._key(f"watermark:{instance}")

    @property
    def holds(self) -> str:
        """Hash: inference id to what was held for it, packed."""
        return self._key("hold")

    @property
    def leases(self) -> str:
        """Sorted set: inference id by the end of its hold's lease, Unix ms."""
        return self._key("lease")

    @property
    def held(self) -> str:
        """Hash: `<scope>|<window>` to nano-USD held."""
        return self._key("held")

    @property
    def expired(self) -> str:
        """Hash: inference id to nano-USD of a hold that expired, until its request is settled."""
        return self._key("expired")

    def spent(self, window: str) -> str:
        """Hash: scope to nano-USD charged in a budget window."""
        return self._key(f"spent:{window}")

    def crossed(self, window: str) -> str:
        """Set: marks of the thresholds of budgets that were reached in a window."""
        return self._key(f"crossed:{window}")

    @property
    def crossings(self) -> str:
        """Hash: mark to a crossing that no journal has noted yet, packed."""
        return self._key("crossings")

    def rate(self, scope: str) -> str:
        """String: the last 61 seconds of requests and tokens, packed."""
        return self._key(f"rate:{scope}")

    def slots(self, scope: str) -> str:
        """Sorted set: inference id by the end of its concurrency slot, Unix ms."""
        return self._key(f"slot:{scope}")

    def hour(self, start_ms: int) -> str:
        """Hash: `<key>|<hub model>|<provider>|<metric>` to its sum."""
        return self._key(f"hour:{start_ms}")

    @property
    def hours(self) -> str:
        """Sorted set: the starts of the hours that there are."""
        return self._key("hours")

    def day(self, day: str) -> str:
        """Hash, as an hour's."""
        return self._key(f"day:{day}")

    @property
    def days(self) -> str:
        """Sorted set: ISO days by their start, Unix ms."""
        return self._key("days")

    def lines(self, month: str) -> str:
        """Hash: `<hub model>|<provider>|<price>|<metric>` to its sum, for invoices; the price is four integers with `/`
        between them, or nothing."""
        return self._key(f"lines:{month}")

    def tag(self, name: str, day: str) -> str:
        """Hash: `<key>|<hub model>|<provider>|<metric>|<value>` to its sum."""
        return self._key(f"tag:{day}:{name}")

    def tag_values(self, name: str, day: str) -> str:
        """Set: the values that are counted by themselves."""
        return self._key(f"tagvalues:{day}:{name}")

    @property
    def entries(self) -> str:
        """Sorted set: packed closed entries by the time in their inference id."""
        return self._key("entries")

    def answer(self, place: str) -> str:
        """Hash: whose claim stands under an Idempotency-Key, and what was answered."""
        return self._key(f"answer:{place}")

    @property
    def poison(self) -> str:
        """List: increments that Redis refused."""
        return self._key("poison")


@dataclass(frozen=True, slots=True)
class BoardNames:
    """The keys of the workers' board."""

    prefix: str

    @property
    def posts(self) -> str:
        """Hash: instance to the Unix ms of its post, a space, and the post."""
        return f"{self.prefix}:{{board}}:posts"

    @property
    def bell(self) -> str:
        """Stream: instance to its post, of the urgent ones."""
        return f"{self.prefix}:{{board}}:bell"


@dataclass(frozen=True, slots=True)
class TenantNames:
    """The keys that are asked before a team is known."""

    prefix: str

    def _key(self, rest: str) -> str:
        return f"{self.prefix}:{{tenants}}:{rest}"

    @property
    def teams(self) -> str:
        """Hash: team id to its document."""
        return self._key("team")

    @property
    def team_names(self) -> str:
        """Hash: name of a living team to its id."""
        return self._key("name")

    @property
    def keys(self) -> str:
        """Hash: key id to its document."""
        return self._key("key")

    @property
    def digests(self) -> str:
        """Hash: digest to key id."""
        return self._key("digest")

    @property
    def used(self) -> str:
        """Hash: key id to its last use, Unix ms. Apart from the document, so that noting it undoes nothing."""
        return self._key("used")

    @property
    def organisation(self) -> str:
        """String: the document of what holds for all teams together."""
        return self._key("organisation")

    @property
    def workers(self) -> str:
        """Sorted set: instances of workers by when they were last heard of, Unix ms."""
        return self._key("workers")

    @property
    def sweep(self) -> str:
        """String: there while somebody has just cleared away expired holds."""
        return self._key("sweep")

    def keys_of(self, team_id: str) -> str:
        """Set: key ids."""
        return self._key(f"keys:{team_id}")

    @property
    def audit(self) -> str:
        """List: documents, newest first."""
        return self._key("audit")
