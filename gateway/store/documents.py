"""Teams, keys and audit entries as the JSON documents that both stores keep. Unknown fields are passed over, so that a
later version's documents can be read."""

from __future__ import annotations

import msgspec

from gateway.store.base import AuditEntry
from gateway.tenants import Key, Organisation, Team

_encode = msgspec.json.Encoder().encode
read_team = msgspec.json.Decoder(Team).decode
read_key = msgspec.json.Decoder(Key).decode
read_organisation = msgspec.json.Decoder(Organisation).decode
read_audit = msgspec.json.Decoder(AuditEntry).decode


def write(value: Team | Key | Organisation | AuditEntry) -> str:
    return _encode(value).decode()


def found_by(key: Key, team: Team, digest: str, now_ms: int) -> bool:
    """Whether a digest opens this key now: the key and its team live, and an old digest is still in its overlap."""
    if team.deleted_at_ms is not None or not key.is_live(now_ms):
        return False
    if digest == key.digest:
        return True
    return digest == key.old_digest and now_ms < (key.old_digest_until_ms or 0)
