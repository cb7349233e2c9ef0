"""Teams, keys and the audit log in Redis. All of it lies in one slot: it is small, and one script answers who calls."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from gateway.store import documents
from gateway.store.base import AuditEntry, Changed, NameTaken
from gateway.store.redis.connect import Client, Link, node_of
from gateway.store.redis.names import TenantNames
from gateway.store.redis.scripts import ScriptRunner, load_script
from gateway.tenants import Key, Organisation, Team

AUDIT_ENTRIES_MAX: Final = 100_000
WAIT_MS: Final = 1_000
"""How long an administrator waits for the replicas."""

FIND_KEY: Final = load_script("find_key")
SAVE_KEY: Final = load_script("save_key")
SAVE_TEAM: Final = load_script("save_team")
TOUCH_KEYS: Final = load_script("touch_keys")


class RedisTenants:
    """`patient` is a link that waits for replicas, which `link` has no time for."""

    def __init__(self, link: Link, patient: Link, prefix: str) -> None:
        self._link = link
        self._patient = patient
        self._tenants = TenantNames(prefix)
        self._asking = ScriptRunner(link)

    async def create_team(self, team: Team) -> None:
        await self._save_team(team, team)

    async def save_team(self, team: Team) -> None:
        await self._save_team(team, replace(team, revision=team.revision + 1))

    async def _save_team(self, team: Team, kept: Team) -> None:
        names = self._tenants
        deleted = "1" if team.deleted_at_ms is not None else "0"
        saved = await self._asking.start(
            SAVE_TEAM,
            [names.teams, names.team_names],
            team.id,
            team.name,
            documents.write(kept),
            deleted,
            str(team.revision),
        )
        if saved == 0:
            raise NameTaken(team.name)
        if saved < 0:
            raise Changed

    async def teams(self, *, deleted: bool = False) -> list[Team]:
        found = await self._link.call(lambda client: client.hvals(self._tenants.teams))
        teams = [documents.read_team(document) for document in found]
        return sorted(
            (team for team in teams if deleted or team.deleted_at_ms is None), key=lambda team: (team.name, team.id)
        )

    async def find_team(self, name_or_id: str) -> Team | None:
        team_id = await self._link.call(lambda client: client.hget(self._tenants.team_names, name_or_id))
        wanted = name_or_id if team_id is None else team_id
        document = await self._link.call(lambda client: client.hget(self._tenants.teams, wanted))
        return None if document is None else documents.read_team(document)

    async def organisation(self) -> Organisation:
        document = await self._link.call(lambda client: client.get(self._tenants.organisation))
        return Organisation() if document is None else documents.read_organisation(document)

    async def save_organisation(self, organisation: Organisation) -> None:
        document = documents.write(organisation)
        await self._link.call(lambda client: client.set(self._tenants.organisation, document))

    async def create_key(self, key: Key) -> None:
        await self._save_key(key, key)

    async def save_key(self, key: Key) -> None:
        await self._save_key(key, replace(key, revision=key.revision + 1))

    async def _save_key(self, key: Key, kept: Key) -> None:
        names = self._tenants
        opens = [] if key.revoked_at_ms is not None else [key.digest, *filter(None, [key.old_digest])]
        saved = await self._asking.start(
            SAVE_KEY,
            [names.digests, names.keys, names.keys_of(key.team_id)],
            key.id,
            documents.write(kept),
            str(key.revision),
            *opens,
        )
        if not saved:
            raise Changed

    async def keys(self, team_id: str) -> list[Key]:
        key_ids = await self._link.call(lambda client: client.smembers(self._tenants.keys_of(team_id)))
        if not key_ids:
            return []
        ordered = list(key_ids)
        found = await self._link.call(lambda client: client.hmget(self._tenants.keys, ordered))
        used = await self._link.call(lambda client: client.hmget(self._tenants.used, ordered))
        keys = [_with_use(documents.read_key(key), last) for key, last in zip(found, used, strict=True) if key]
        return sorted(keys, key=lambda key: (key.created_at_ms, key.id))

    async def touch_keys(self, used: Mapping[tuple[str, str], int]) -> None:
        if used:
            arguments = [text for (team_id, key_id), at_ms in used.items() for text in (key_id, team_id, str(at_ms))]
            await self._asking.start(TOUCH_KEYS, [self._tenants.used, self._tenants.keys], *arguments)

    async def find_key(self, digest: str) -> tuple[Key, Team] | None:
        names = self._tenants
        found = await self._asking.start(FIND_KEY, [names.digests, names.keys, names.teams], digest)
        if found is None or found[1] is None:
            return None
        key, team = documents.read_key(found[0]), documents.read_team(found[1])
        return (key, team) if documents.found_by(key, team, digest, time.time_ns() // 1_000_000) else None

    async def append_audit(self, entry: AuditEntry) -> bool:
        key, document = self._tenants.audit, documents.write(entry)

        async def append(client: Client) -> bool:
            node = node_of(client, key)
            replicas = int((await client.info("replication", **node)).get("connected_slaves", 0))
            # In one pipeline, and so on one connection: WAIT is about what its own connection has written. Replicas get
            # everything in one order, so whoever has this has what was written before it.
            pipeline = client.pipeline(transaction=False)
            pipeline.lpush(key, document)
            pipeline.ltrim(key, 0, AUDIT_ENTRIES_MAX - 1)
            if replicas:
                pipeline.execute_command("WAIT", replicas, WAIT_MS, **node)
            answers = await pipeline.execute()
            return not replicas or int(answers[-1]) >= replicas

        return await self._patient.call(append)

    async def audit(self, *, limit: int = 1000) -> list[AuditEntry]:
        found = await self._link.call(lambda client: client.lrange(self._tenants.audit, 0, limit - 1))
        return [documents.read_audit(document) for document in found]


def _with_use(key: Key, last: bytes | None) -> Key:
    used_at_ms = max(int(last or 0), key.last_used_at_ms or 0)
    return replace(key, last_used_at_ms=used_at_ms) if used_at_ms else key
