"""What was answered under an Idempotency-Key, in Redis: values to scripts and back. The scripts say what is done."""

from __future__ import annotations

from typing import Final

from gateway.store.base import ANSWER_KEPT_S, Claim, Claimed
from gateway.store.redis.connect import Link
from gateway.store.redis.names import TeamNames
from gateway.store.redis.scripts import ScriptRunner, load_script

CLAIM: Final = load_script("claim_answer")
KEEP: Final = load_script("keep_answer")
DROP: Final = load_script("drop_claim")


class RedisAnswers:
    """Travels in pipelines of its own: a long answer delays no admission."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._prefix = prefix
        self._answering = ScriptRunner(link)

    async def claim_answer(self, claim: Claim) -> Claimed | None:
        first = await self._answering.start(
            CLAIM,
            [self._place(claim)],
            claim.inference_id,
            claim.fingerprint,
            str(claim.lease_ms),
            str(ANSWER_KEPT_S),
            claim.instead_of or "",
        )
        if first is None:
            return None
        inference_id, fingerprint, lease_is_over, is_answered, answer = first
        return Claimed(inference_id.decode(), fingerprint.decode(), bool(lease_is_over), bool(is_answered), answer)

    async def keep_answer(self, claim: Claim, answer: bytes | None) -> None:
        kept = [] if answer is None else [answer]
        await self._answering.start(
            KEEP, [self._place(claim)], claim.inference_id, claim.fingerprint, str(ANSWER_KEPT_S), *kept
        )

    async def drop_claim(self, claim: Claim) -> None:
        await self._answering.start(DROP, [self._place(claim)], claim.inference_id)

    def _place(self, claim: Claim) -> str:
        return TeamNames(self._prefix, claim.team_id).answer(claim.place)
