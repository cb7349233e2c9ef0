"""What an administrator can do: make, change and end teams and keys, each act written to the audit.

The same acts serve the admin API and the command line. Checking the fields is `tenant_fields`' business, showing the
results `tenant_views`'; who is an administrator was decided before. Every act may raise StoreAway.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway import ids
from gateway import keys as key_texts
from gateway.errors import Conflict, NotFound
from gateway.store.base import AuditEntry, Changed, NameTaken, Tenants
from gateway.suggest import did_you_mean
from gateway.tenant_fields import read_key, read_overlap_s, read_team
from gateway.tenant_views import key_view, team_view
from gateway.tenants import Key, Team

OVERLAP_DEFAULT_S: Final = 24 * 3600
OVERLAP_MAX_S: Final = 30 * 24 * 3600
AUDIT_SHOWN: Final = 1000
CHANGE_TRIES: Final = 10
"""How often a change is made anew to what somebody else has made of it meanwhile."""


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, for the audit."""

    name: str
    """`admin-api` or `cli`."""
    origin: str
    """The client's address, or the host's name."""


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key that was just made, or made anew."""

    team: Team
    key: Key
    text: str = field(repr=False)
    """The key itself, which cannot be had again."""


class Administration:
    """The acts of one request or command. Raise InvalidRequest, NotFound (`team_not_found`, `key_not_found`), Conflict
    (`team_exists`, `key_not_live`, `conflict`) and StoreAway."""

    def __init__(
        self,
        store: Tenants,
        *,
        new_team_id: Callable[[], str] = ids.new_team_id,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self.durable = True
        """Whether all that was done here has reached every replica of the store that is connected."""
        self._store = store
        self._new_team_id = new_team_id
        self._clock_ms = clock_ms

    async def create_team(self, given: object, actor: Actor) -> Team:
        """`given` holds the fields of the contract, with `team` as the name."""
        blank = Team(id=self._new_team_id(), name="", created_at_ms=self._clock_ms())
        # An absent name is checked as an empty one, so that it meets the same message as a bad one.
        team = read_team(blank, {"team": "", **given} if isinstance(given, Mapping) else given)
        try:
            await self._store.create_team(team)
        except NameTaken:
            raise _name_taken(team.name) from None
        await self._record(actor, "team.create", team.name, None, team_view(team))
        return team

    async def teams(self) -> list[Team]:
        return sorted(await self._store.teams(), key=lambda team: team.name)

    async def team(self, name_or_id: str) -> Team:
        """A living team."""
        team = await self._store.find_team(name_or_id)
        if team is None or team.deleted_at_ms is not None:
            known = [entry.name for entry in await self._store.teams()]
            raise NotFound(
                f"there is no team {name_or_id[:64]!r}.{did_you_mean(name_or_id[:64], known)}", code="team_not_found"
            )
        return team

    async def update_team(self, name_or_id: str, given: object, actor: Actor) -> Team:
        """Fields that are not given stay as they are; `team` gives a new name."""
        before, team = await self._change_team(name_or_id, lambda before: read_team(before, given))
        await self._record(actor, "team.update", before.name, team_view(before), team_view(team))
        return team

    async def delete_team(self, name_or_id: str, actor: Actor) -> Team:
        """Its keys are dead at once; what it used stays in the ledger under its id."""
        before, team = await self._change_team(
            name_or_id, lambda before: replace(before, deleted_at_ms=self._clock_ms())
        )
        await self._record(actor, "team.delete", before.name, team_view(before), None)
        return team

    async def create_key(self, team_name: str, given: object, actor: Actor) -> IssuedKey:
        team = await self.team(team_name)
        now_ms = self._clock_ms()
        minted = key_texts.mint()
        blank = Key(id=minted.id, team_id=team.id, prefix=minted.prefix, digest=minted.digest, created_at_ms=now_ms)
        key = read_key(blank, given, now_ms)
        await self._store.create_key(key)
        await self._record(actor, "key.create", _subject(team, key), None, key_view(key, team.name, now_ms))
        return IssuedKey(team, key, minted.text)

    async def keys(self, team_name: str) -> tuple[Team, list[Key]]:
        """Oldest first, revoked and expired ones too."""
        team = await self.team(team_name)
        return team, sorted(await self._store.keys(team.id), key=lambda key: (key.created_at_ms, key.id))

    async def key(self, team_name: str, key_id: str) -> tuple[Team, Key]:
        team, keys = await self.keys(team_name)
        for key in keys:
            if key.id == key_id:
                return team, key
        raise NotFound(
            f"team {team.name!r} has no key {key_id[:64]!r}.{did_you_mean(key_id[:64], [key.id for key in keys])}",
            code="key_not_found",
        )

    async def update_key(self, team_name: str, key_id: str, given: object, actor: Actor) -> tuple[Team, Key]:
        return await self._change_key(
            actor, "key.update", team_name, key_id, lambda before: read_key(before, given, self._clock_ms())
        )

    async def rotate_key(self, team_name: str, key_id: str, given: object, actor: Actor) -> IssuedKey:
        """A new secret under the same id. The old one lives on for `overlap_seconds` (a day where none are given)."""
        overlap_s = read_overlap_s(given, OVERLAP_DEFAULT_S, OVERLAP_MAX_S)
        minted = key_texts.mint((await self.key(team_name, key_id))[1].id)

        def rotated(before: Key) -> Key:
            now_ms = self._clock_ms()
            if not before.is_live(now_ms):
                raise Conflict(f"key {key_id!r} is revoked or expired and cannot be rotated", code="key_not_live")
            return replace(
                before,
                digest=minted.digest,
                old_digest=before.digest if overlap_s else None,
                old_digest_until_ms=now_ms + overlap_s * 1000 if overlap_s else None,
            )

        team, key = await self._change_key(actor, "key.rotate", team_name, key_id, rotated)
        return IssuedKey(team, key, minted.text)

    async def revoke_key(self, team_name: str, key_id: str, actor: Actor) -> tuple[Team, Key]:
        """Ends the key, and an old secret of it with it. Again is no error."""
        team, before = await self.key(team_name, key_id)
        if before.revoked_at_ms is not None:
            return team, before

        def revoked(before: Key) -> Key:
            return replace(before, revoked_at_ms=self._clock_ms(), old_digest=None, old_digest_until_ms=None)

        return await self._change_key(actor, "key.revoke", team_name, key_id, revoked)

    async def audit(self, *, limit: int = AUDIT_SHOWN) -> list[AuditEntry]:
        """Newest first."""
        return await self._store.audit(limit=limit)

    async def _change_team(self, name_or_id: str, change: Callable[[Team], Team]) -> tuple[Team, Team]:
        """What it was and what it is. Somebody else's change at the same moment stays: this one is made to its
        result."""
        team = None
        for _ in range(CHANGE_TRIES):
            before = await self.team(name_or_id)
            if before == team:
                return before, team  # it was saved, and the answer was lost
            team = change(before)
            try:
                await self._store.save_team(team)
            except NameTaken:
                raise _name_taken(team.name) from None
            except Changed:
                continue
            return before, team
        raise Conflict(f"team {name_or_id!r} is being changed by others; ask again")

    async def _change_key(
        self, actor: Actor, act: str, team_name: str, key_id: str, change: Callable[[Key], Key]
    ) -> tuple[Team, Key]:
        """As `_change_team`, and written to the audit."""
        key = None
        for _ in range(CHANGE_TRIES):
            team, before = await self.key(team_name, key_id)
            if key is not None and replace(before, last_used_at_ms=key.last_used_at_ms) == key:
                break  # it was saved, and the answer was lost
            key = change(before)
            try:
                await self._store.save_key(key)
            except Changed:
                continue
            break
        else:
            raise Conflict(f"key {key_id!r} is being changed by others; ask again")
        now_ms = self._clock_ms()
        await self._record(
            actor, act, _subject(team, key), key_view(before, team.name, now_ms), key_view(key, team.name, now_ms)
        )
        return team, key

    async def _record(
        self, actor: Actor, act: str, subject: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
    ) -> None:
        entry = AuditEntry(
            at_ms=self._clock_ms(),
            actor=actor.name,
            origin=actor.origin,
            act=act,
            subject=subject,
            before=before,
            after=after,
        )
        self.durable &= await self._store.append_audit(entry)


def _subject(team: Team, key: Key) -> str:
    return f"{team.name}/{key.id}"


def _name_taken(name: str) -> Conflict:
    return Conflict(f"there is a team {name!r} already", param="team", code="team_exists")
