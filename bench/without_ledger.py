"""`gateway`, but nothing is metered: what the ledger costs is measured against this. Not for use.

Requests are routed, sent and answered as always; their bills are forgotten as they are made.
"""

from __future__ import annotations

import sys

import gateway.app
from gateway.cli.main import main
from gateway.metering import Meter
from providers.wire import Usage


class NoBill:
    """Takes every call of a bill, and keeps nothing but the attempt's number."""

    max_tokens_set = None
    limit_headers = {}  # noqa: RUF012 - nobody writes to it
    is_answering = False

    def __init__(self, inference_id):
        self.inference_id = inference_id
        self._number = 0

    def sent(self, offer):
        self._number += 1
        return self._number

    def head(self, status, upstream_id=None):
        pass

    def part(self, text_chars):
        pass

    def failed(self, failure, **_):
        pass

    def won(self, *, usage, text_chars, **_):
        return usage or Usage(0, text_chars // 4)

    def waive(self):
        pass

    async def close(self, *, failed):
        pass

    def synced(self):
        return None


class NoMeter(Meter):
    async def open(self, opening):
        return NoBill(opening.inference_id)


gateway.app.Meter = NoMeter

if __name__ == "__main__":
    sys.exit(main())
