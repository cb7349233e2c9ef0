"""The fault kit's provider in a thread of the test: told what goes wrong next, asked what it really served."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any, Final

from tests.faults import fault_upstream

WAIT_S: Final = 10.0


class _SeenTruth(fault_upstream.Truth):
    """The truth file, with its records also in memory for whoever waits for one."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(None if path is None else str(path), False)
        self.records: list[dict[str, Any]] = []
        self.changed = threading.Condition()

    async def add(self, record: dict[str, Any]) -> None:
        await super().add(record)
        with self.changed:
            self.records.append(record)
            self.changed.notify_all()


class FaultProvider:
    """An OpenAI-compatible provider on a free port. `base_url` goes into the mapping table."""

    def __init__(self, *, truth: Path | None = None, arguments: str = "") -> None:
        self._options = fault_upstream.parse(["--port", "0", *arguments.split()])
        self._truth_path = truth
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> FaultProvider:
        self._thread.start()
        assert self._ready.wait(WAIT_S)
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Every connection breaks, and none is taken any more. May be called twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(WAIT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        self._upstream, server = await fault_upstream.start(self._options)
        self.truth = self._upstream.truth = _SeenTruth(self._truth_path)
        self.port: int = server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self._ready.set()
        await self._end.wait()
        server.close()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def next(self, *faults: str) -> None:
        """What goes wrong with the next requests, one fault each; all is well after them."""
        self._upstream.scripts["*"] = list(faults)

    def secret(self, name: str, value: str) -> None:
        """From now on a request that holds `value` anywhere has `name` among its leaks."""
        self._upstream.secrets[name] = value

    def reset(self) -> None:
        """Forgets scripts and what was seen."""
        self._upstream.reset()
        with self.truth.changed:
            self.truth.records.clear()

    @property
    def requests(self) -> int:
        """How many reached it since the last reset."""
        count: int = self._upstream.seq
        return count

    @property
    def has_answered(self) -> bool:
        """Whether it has sent a status since the last reset."""
        return bool(self._upstream.heads)

    def inference_ids(self) -> list[str]:
        """Whose attempts reached it since the last reset, in order, each once."""
        with self.truth.changed:
            begun = [str(r["rid"]).partition(".")[0] for r in self.truth.records if r["ev"] == "begin"]
        return list(dict.fromkeys(begun))

    def ended(self, inference_id: str) -> list[dict[str, Any]]:
        """The end records of a request's attempts here; waits until each one that began has ended."""
        deadline_s = time.monotonic() + WAIT_S
        with self.truth.changed:
            while True:
                mine = [r for r in self.truth.records if str(r["rid"]).startswith(inference_id + ".")]
                ends = [r for r in mine if r["ev"] == "end"]
                if ends and len(ends) * 2 == len(mine):
                    return ends
                if not self.truth.changed.wait(deadline_s - time.monotonic()):
                    raise AssertionError(f"no end of {inference_id} in {json.dumps(mine)}")

    def wait_for_words(self, words: int) -> None:
        """Until it has written so much in all its answers since the last reset."""
        deadline_s = time.monotonic() + WAIT_S
        while self._upstream.words < words:
            if time.monotonic() > deadline_s:
                raise AssertionError(f"{self._upstream.words} words of {words}")
            time.sleep(0.01)

    def asked_at_s(self, inference_id: str) -> float:
        """When the request's first attempt here arrived, as `time.time` has it."""
        with self.truth.changed:
            begun = (r for r in self.truth.records if r["ev"] == "begin" and r["rid"].startswith(inference_id + "."))
            return min(float(record["t"]) for record in begun)

    def leaks(self) -> list[str]:
        with self.truth.changed:
            return [name for record in self.truth.records for name in record["leaks"]]
