"""Teams and keys in a dictionary: the least that the acts of an administrator can be tried on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.store.base import AuditEntry, Changed, NameTaken, StoreAway
from gateway.tenants import Key, Team


class MemoryTenants:
    """The `Tenants` of gateway/store/base.py. With `away` set every call raises StoreAway."""

    def __init__(self) -> None:
        self.kept_teams: dict[str, Team] = {}
        self.kept_keys: dict[tuple[str, str], Key] = {}
        self.kept_audit: list[AuditEntry] = []
        self.now_ms = 0
        self.away = False
        self.look_ups: list[str] = []

    def _ask(self) -> None:
        if self.away:
            raise StoreAway("switched off by the test")

    async def create_team(self, team: Team) -> None:
        await self.save_team(team)
        self.kept_teams[team.id] = team

    async def save_team(self, team: Team) -> None:
        self._ask()
        if any(
            other.name == team.name and other.id != team.id and other.deleted_at_ms is None
            for other in self.kept_teams.values()
        ):
            raise NameTaken(team.name)
        if self.kept_teams.get(team.id, team).revision != team.revision:
            raise Changed
        self.kept_teams[team.id] = replace(team, revision=team.revision + 1)

    async def teams(self, *, deleted: bool = False) -> list[Team]:
        self._ask()
        return [team for team in self.kept_teams.values() if deleted or team.deleted_at_ms is None]

    async def find_team(self, name_or_id: str) -> Team | None:
        self._ask()
        living = [t for t in self.kept_teams.values() if t.name == name_or_id and t.deleted_at_ms is None]
        return living[0] if living else self.kept_teams.get(name_or_id)

    async def create_key(self, key: Key) -> None:
        await self.save_key(key)
        self.kept_keys[key.team_id, key.id] = key

    async def save_key(self, key: Key) -> None:
        self._ask()
        if self.kept_keys.get((key.team_id, key.id), key).revision != key.revision:
            raise Changed
        self.kept_keys[key.team_id, key.id] = replace(key, revision=key.revision + 1)

    async def keys(self, team_id: str) -> list[Key]:
        self._ask()
        return [key for key in self.kept_keys.values() if key.team_id == team_id]

    async def touch_keys(self, used: Mapping[tuple[str, str], int]) -> None:
        self._ask()
        for place, at_ms in used.items():
            if place in self.kept_keys:
                self.kept_keys[place] = replace(self.kept_keys[place], last_used_at_ms=at_ms)

    async def find_key(self, digest: str) -> tuple[Key, Team] | None:
        self._ask()
        self.look_ups.append(digest)
        for key in self.kept_keys.values():
            old = digest == key.old_digest and self.now_ms < (key.old_digest_until_ms or 0)
            team = self.kept_teams[key.team_id]
            if (digest == key.digest or old) and key.is_live(self.now_ms) and team.deleted_at_ms is None:
                return key, team
        return None

    async def append_audit(self, entry: AuditEntry) -> bool:
        self._ask()
        self.kept_audit.append(entry)
        return True

    async def audit(self, *, limit: int = 1000) -> list[AuditEntry]:
        self._ask()
        return self.kept_audit[::-1][:limit]
