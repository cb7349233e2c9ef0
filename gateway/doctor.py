"""What is right and wrong with an installation, and what to do about it. Pure: facts in, findings out.

`fail` is what loses money or stops the gateway; `warn` is what may be meant so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.config.catalog import Catalog
from gateway.config.mapping_faults import MappingFaults
from gateway.config.settings import Settings
from gateway.store.redis.connect import VERSION_MIN
from gateway.store.redis.inspection import NodeFacts, RedisFacts, acl_rule

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"
CLOCK_MS_MAX: Final = 1000
SYNC_SLOW_S: Final = 0.05
FREE_FAIL_BYTES: Final = 64 << 20
FREE_WARN_BYTES: Final = 4 << 30
"""As much as a journal keeps of what was acknowledged."""
MEMORY_PERCENT_MAX: Final = 90
NAMED_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: `level` is `ok`, `warn` or `fail`; `advice` says what to do, and is empty where nothing is."""

    check: str
    level: str
    said: str
    advice: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"check": self.check, "level": self.level, "said": self.said, "advice": self.advice}


def check_settings(settings: Settings) -> Iterator[Finding]:
    for warning in settings.warnings:
        yield Finding("environment", WARN, warning)
    if settings.journal_sync == "off":
        advice = "set GATEWAY_JOURNAL_SYNC to background"
        yield Finding("journal sync", WARN, "off: a machine that loses power loses what was used last", advice)


def check_redis(facts: RedisFacts, settings: Settings) -> Iterator[Finding]:
    for number, node in enumerate(facts.nodes, 1):
        where = f" (node {number})" if len(facts.nodes) > 1 else ""
        yield from _check_node(node, where)
    offset_s = facts.clock_offset_ms / 1000
    if abs(facts.clock_offset_ms) < CLOCK_MS_MAX:
        yield Finding("clock", OK, f"{offset_s:+.3f} s from this host's")
    else:
        advice = "run NTP on both: limits, leases and budget periods go by Redis's clock"
        yield Finding("clock", FAIL, f"{offset_s:+.3f} s from this host's", advice)
    yield _check_commands(facts, settings)


def _check_node(node: NodeFacts, where: str) -> Iterator[Finding]:
    parts = tuple(int(part) for part in node.version.split(".")[:2] if part.isdigit())
    oldest = ".".join(map(str, VERSION_MIN))
    if parts >= VERSION_MIN:
        yield Finding(f"redis version{where}", OK, node.version)
    else:
        yield Finding(f"redis version{where}", FAIL, node.version, f"take at least {oldest}")
    if node.maxmemory_policy == "noeviction":
        yield Finding(f"eviction{where}", OK, "noeviction")
    else:
        advice = "CONFIG SET maxmemory-policy noeviction: anything else throws away money"
        yield Finding(f"eviction{where}", FAIL, node.maxmemory_policy, advice)
    yield _check_memory(node, where)
    yield _check_persistence(node, where)
    if node.replicas:
        yield Finding(f"replicas{where}", OK, str(node.replicas))
    else:
        yield Finding(
            f"replicas{where}", WARN, "none", "with a replica and failover, budgets go on when this machine does not"
        )


def _check_memory(node: NodeFacts, where: str) -> Finding:
    used = f"{node.used_bytes >> 20} MiB used"
    if not node.maxmemory_bytes:
        return Finding(f"memory{where}", OK, f"{used}, no maxmemory")
    said = f"{used} of {node.maxmemory_bytes >> 20} MiB"
    if node.used_bytes * 100 < node.maxmemory_bytes * MEMORY_PERCENT_MAX:
        return Finding(f"memory{where}", OK, said)
    return Finding(f"memory{where}", WARN, said, "raise maxmemory: when it is full, the store counts as away")


def _check_persistence(node: NodeFacts, where: str) -> Finding:
    check = f"persistence{where}"
    if node.last_write_failed:
        return Finding(check, FAIL, "the last write to disk failed", "look at Redis's log and at its disk")
    if node.appendonly:
        if node.appendfsync == "no":
            return Finding(check, WARN, "appendonly, appendfsync no", "CONFIG SET appendfsync everysec")
        return Finding(check, OK, f"appendonly, appendfsync {node.appendfsync or 'not told'}")
    advice = "set appendonly yes: a restart goes back to the last snapshot, teams and keys too"
    if node.save == "":
        return Finding(check, FAIL, "neither an append-only file nor snapshots", advice)
    return Finding(check, WARN, "snapshots only", advice)


def _check_commands(facts: RedisFacts, settings: Settings) -> Finding:
    rule = acl_rule(settings.redis_prefix, cluster=settings.redis_mode == "cluster")
    if facts.refused is None:
        return Finding("redis commands", WARN, "this user may not ask what it may do", f"what is needed: {rule}")
    if facts.refused:
        return Finding("redis commands", FAIL, f"forbidden: {', '.join(facts.refused)}", rule)
    return Finding("redis commands", OK, "all that are needed")


def check_space(free_bytes: int) -> Finding:
    said = f"{free_bytes / (1 << 30):.1f} GiB free"
    if free_bytes < FREE_FAIL_BYTES:
        return Finding("journal space", FAIL, said, "make room: without a journal nothing is served")
    if free_bytes < FREE_WARN_BYTES:
        return Finding("journal space", WARN, said, "a journal keeps up to 4 GiB of the last day")
    return Finding("journal space", OK, said)


def check_sync(took_s: float) -> Finding:
    said = f"{took_s * 1000:.1f} ms"
    if took_s > SYNC_SLOW_S:
        return Finding("journal disk", WARN, said, "slow: a power cut loses what was not synced yet")
    return Finding("journal disk", OK, said)


def check_unshipped(count: int, old_count: int) -> Finding:
    """`old_count`: of those, what a running worker would have shipped long ago."""
    if old_count:
        advice = "start the gateway on this host: it ships what dead workers left"
        return Finding("unshipped usage", WARN, f"{count} entries, {old_count} of them older than a minute", advice)
    return Finding("unshipped usage", OK, f"{count} entries")


def check_mappings(found: Catalog | MappingFaults, file: str, today: str) -> Iterator[Finding]:
    if isinstance(found, MappingFaults):
        more = len(found.faults) - 1
        yield Finding("mappings", FAIL, str(found.faults[0]), f"gateway check tells {more} more" if more else "")
        return
    offers = [offer for model in found.models.values() for offer in model.offers]
    said = f"{file}: {len(found.models)} models, {len(offers)} offers"
    yield Finding("mappings", OK, said) if offers else Finding("mappings", FAIL, said, "set the key of a provider")
    yield _check_providers(found.providers, found.left_out)
    unpriced = sorted({f"{one.hub_model} at {one.provider.name}" for one in offers if one.price_on(today) is None})
    if unpriced:
        advice = "add pricing to the table, or set routing.unpriced: refuse"
        yield Finding("prices", WARN, f"{len(unpriced)} offers without one: {_some(unpriced)}", advice)
    else:
        yield Finding("prices", OK, "every offer has one")


def _check_providers(served: Mapping[str, Any], left_out: Mapping[str, str]) -> Finding:
    if not left_out:
        return Finding("providers", OK, f"{len(served)}, none left out")
    said = f"{len(served)}, left out: {_some([f'{name} ({why})' for name, why in left_out.items()])}"
    return Finding("providers", WARN, said, "set what is missing, or take them out of the table")


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
