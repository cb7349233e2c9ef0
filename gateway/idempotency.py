"""One answer and one charge for all requests that carry the same `Idempotency-Key`.

    whose claim came first             what the request gets
    --------------------------------   --------------------------------------------
    its own                            it is served
    another's, who asked other things  400
    another's, who is being served     409, try again
    another's, who was answered        that answer; 409 where it is not kept
    another's, who got an error        it is served: nothing was charged

A worker that died leaves a claim behind, and what the ledger says of its request decides: closed and not answered, the
claim is void; answered, the team owes for it, and nothing is charged again for an answer that is gone. A request that
the ledger knows nothing of loses its claim with the lease. A store that cannot be asked is a 502: without it nobody
knows whether the request was charged before.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from gateway.admission import LEASE_SLACK_S
from gateway.errors import Conflict, InvalidRequest, LedgerUnavailable
from gateway.reports import Reports
from gateway.store.base import Claim, Claimed, Store, StoreAway
from gateway.tenants import Principal
from providers.wire import Headers, decode_json, encode_json

HEADER: Final = "Idempotency-Key"
ANSWER_BYTES_MAX: Final = 1 << 20
_KEY: Final = re.compile(rb"[!-~]{1,255}\Z")
RETRY_S: Final = 1.0

log = logging.getLogger("gateway.idempotency")


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What the first request under a key was answered. `headers` are those that tell how it came about."""

    inference_id: str
    headers: Headers
    body: bytes


def claim_of(
    key: bytes, principal: Principal, body: bytes, *, pinned: str | None, inference_id: str, deadline_s: float
) -> Claim:
    """What a request claims by its header, which is the calling API key's own, apart for each team that it bills. The
    same request is one of the same bytes on the same provider's route. Raises InvalidRequest."""
    if not _KEY.match(key):
        raise InvalidRequest(f"{HEADER}: expected 1 to 255 visible ASCII characters.", param=HEADER)
    asked = sha256(f"{pinned or ''}\n".encode())
    asked.update(body)
    return Claim(
        team_id=principal.billed.id,
        place=sha256(principal.key.id.encode() + b"\n" + key).hexdigest(),
        fingerprint=asked.hexdigest(),
        inference_id=inference_id,
        lease_ms=int((deadline_s + LEASE_SLACK_S) * 1000),
    )


class KeptAnswers:
    """Claims, and what was answered under them."""

    def __init__(self, store: Store, reports: Reports) -> None:
        self._store = store
        self._reports = reports

    async def claim(self, claim: Claim) -> KeptAnswer | None:
        """None: the request is to be served, and `keep` or `drop` to be called after it. Else the answer of the first.

        Raises InvalidRequest, Conflict and LedgerUnavailable.
        """
        try:
            first = await self._store.claim_answer(claim)
            if first is not None and first.fingerprint == claim.fingerprint and await self._is_void(first, claim):
                first = await self._store.claim_answer(replace(claim, instead_of=first.inference_id))
        except StoreAway as away:
            raise LedgerUnavailable(
                f"{HEADER}: whether this was answered before cannot be looked up now: {away.reason}.",
                retry_after_s=RETRY_S,
            ) from away
        return None if first is None else _answer_of(first, claim)

    async def keep(self, claim: Claim, headers: Headers, body: bytes) -> None:
        """The request was answered, and charged. Where that cannot be kept the ledger still prevents another charge."""
        told = {name.decode(): value.decode() for name, value in headers}
        answer = encode_json(told) + b"\n" + body if len(body) <= ANSWER_BYTES_MAX else None
        try:
            await self._store.keep_answer(claim, answer)
        except StoreAway as away:
            log.warning("the answer of %s under an %s was not kept: %s", claim.inference_id, HEADER, away.reason)

    async def drop(self, claim: Claim) -> None:
        """The request ended in an error: whoever sends it again is served."""
        try:
            await self._store.drop_claim(claim)
        except StoreAway as away:
            log.warning("the claim of %s under an %s is left behind: %s", claim.inference_id, HEADER, away.reason)

    async def _is_void(self, first: Claimed, claim: Claim) -> bool:
        """Whether the first request is over without an answer. Raises Conflict where it was answered, and the answer
        can come no more."""
        if first.is_answered:
            return False
        if not first.lease_is_over:
            entries = await self._store.story(first.inference_id, team_ids=[claim.team_id])
            return any(entry.last for entry in entries) and not any(entry.answered for entry in entries)
        # What has not been shipped yet stands in a journal of this host.
        if any(entry.answered for entry in await self._reports.entries_of(first.inference_id)):
            raise _not_kept(first.inference_id)
        return True


def _answer_of(first: Claimed, claim: Claim) -> KeptAnswer:
    if first.fingerprint != claim.fingerprint:
        raise InvalidRequest(
            f"{HEADER}: this key was sent with another request ({first.inference_id}) in the last 24 hours; "
            "a new request needs a new key.",
            param=HEADER,
            code="idempotency_mismatch",
        )
    if not first.is_answered:
        raise Conflict(
            f"{HEADER}: the first request with this key ({first.inference_id}) is still being served.",
            param=HEADER,
            code="idempotency_in_progress",
            retry_after_s=RETRY_S,
        )
    if first.answer is None:
        raise _not_kept(first.inference_id)
    headers, _, body = first.answer.partition(b"\n")
    told = [(name.encode(), value.encode()) for name, value in decode_json(headers).items()]
    return KeptAnswer(first.inference_id, told, body)


def _not_kept(inference_id: str) -> Conflict:
    return Conflict(
        f"{HEADER}: the request with this key ({inference_id}) was answered and charged, but its answer is not kept: "
        f"it was longer than {ANSWER_BYTES_MAX >> 20} MiB, or the store was away. A new key asks, and pays, again.",
        param=HEADER,
        code="idempotency_answer_not_kept",
        headers=[("x-should-retry", "false")],
    )
