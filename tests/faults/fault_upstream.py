#!/usr/bin/env python3
# Standard library only and in a style of its own, since it is copied to wherever a fault is needed.
# ruff: noqa
# fmt: off
# mypy: ignore-errors
"""fault_upstream - an OpenAI-compatible provider that misbehaves on request.

    python tests/faults/fault_upstream.py --port 9001 --truth truth.jsonl

Point a provider's base_url at http://127.0.0.1:9001/v1 and ask for a model such as
`fault/cut-after-3-chunks`. What goes wrong is taken from the first of these that is there:

    1. a script for the model, set over the control path (one entry a request)
    2. the request header  X-Fault: cut-after-3-chunks
    3. the model id, anything after "fault/"   (also "org/fault/NAME")
    4. the path: base_url http://127.0.0.1:9001/fault/NAME/v1
    5. --fault NAME for every other model (default: ok)

Several at once are joined with "+":  fault/slow-ttft-2s+no-usage+cut-after-5-chunks

Served: POST .../chat/completions, .../completions, .../embeddings; GET .../models.
Control: GET /__fault__/stats, POST /__fault__/reset,
         POST /__fault__/script {"model": "m" or "*", "faults": ["500", "429-retry-after-1", "ok"]}

Faults (N, S, P are numbers; S may be 5s, 200ms or 5):

  status      500 503 400 401 403 404 408 413 422 429 ... any status; 429-retry-after-S,
              429-retry-after-date, 429-retry-after-bogus, 429-retry-after-ms-N, 429-quota,
              400-context, 400-filter, 400-code-NAME, html-502, error-200 (status 200, error body)
  connection  refuse (FIN, no answer), reset (RST, no answer), reset-in-body, stale-keepalive
              (answers, then drops the idle connection 50 ms later without having said so)
  time        hang, hang-after-headers, hang-in-body, hang-after-N-chunks, slow-ttft-S, slow-headers,
              slow-drip or slow-drip-S (one byte at a time), gap-S (pause between chunks),
              slow-usage-S (pause between the finish_reason and the usage), drip-after-N-chunks
              (one byte each 20 ms from there on), chatter or chatter-after-N-chunks (comments and
              role chunks in the place of any further content)
  cut         cut-after-N-chunks (FIN), rst-after-N-chunks, cut-mid-event, cut-before-usage,
              no-done (all there but [DONE]), no-finish (no finish_reason), truncated-json
  usage       no-usage, usage-null, usage-zero, usage-negative, usage-string, usage-float,
              usage-huge, usage-nan, usage-partial, usage-bad-total, usage-in-every-chunk
              (cumulative), usage-twice, usage-conflict (two values, the last is right),
              usage-with-finish (in the chunk with finish_reason), usage-first, usage-always
              (also where the caller did not ask for it)
  body        empty-body, empty-stream, only-done, invalid-json, deep-json, huge-line or
              huge-line-N (MiB; the second word of a stream), huge-first-N (the first), endless,
              null-content, unknown-fields, json-for-stream, stream-for-json, wrong-type
              (content-type)
  framing     wrong-content-length (too long), short-content-length, no-length (ends by FIN),
              bad-chunk, two-lengths, early-hints (103 first)
  sse         malformed-sse, sse-crlf, sse-cr, sse-bom, sse-comments, sse-no-space,
              sse-multi-data, sse-events (event:, id:, retry: lines), sse-split-utf8 (a
              character over two writes), sse-byte-by-byte, sse-one-write, bad-utf8,
              error-in-stream or error-in-stream-after-N, error-event, data-after-done
  encoding    gzip, gzip-bomb, gzip-broken, gzip-lie (says gzip, is not), gzip-stream
  headers     redirect (307), redirect-metadata (302 to a link-local address), evil-headers,
              huge-header, many-headers, crlf-model (echoes the model in a header, escaped),
              limit-N (N of 100 requests are left, and all again after two seconds)
  content     unicode, tool-calls, finish-length, many-choices
  state       fail-N-then-ok, flaky-P (P percent, by --seed), capacity-N (429 over N at once)

Truth file: JSONL; a record is on disk (fsync) before the first byte of the answer is sent
("begin") and as soon as the answer is over ("end"). The fields a test needs:

  id        the response id (chatcmpl-...), which the gateway sees in the answer
  tag       [[tag:abc]] found anywhere in the prompt: survives any change of headers and ids
  rid       x-request-id as received;  key: first 16 hex digits of sha256(bearer token)
  model, fault, stream, n
  prompt_tokens               words of all text parts of the prompt
  begun                       of them, those of an answer that was to be gone on from (vLLM's
                              continue_final_message without add_generation_prompt)
  generated                   completion tokens made; one word is one token
  sent                        completion tokens handed to the kernel before the end
  usage                       the usage object that was sent whole, or null
  outcome   complete | error | cut | reset | client_gone | hang (bug: a mistake in this file)
  billable  {"prompt": p, "completion": c}: what a provider would charge for this request:
            the prompt and all that was generated, whether or not it arrived; nothing for an
            error status or an answer without content
  leaks     names of --secret values seen anywhere in the request (should be empty)

Words are common English ones that most tokenizers keep whole, so that a gateway's own
estimate of a partial answer can be compared with `sent`.

Standard library only. Speaks raw HTTP/1.1, as a server library would refuse to be wrong.
"""
from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gzip
import hashlib
import json
import os
import random
import re
import signal
import socket
import struct
import sys
import time
import traceback
import uuid
import zlib

WORDS = ("the of and to in is that for it as was with be by on not he his but at are this "
         "have from or had an they which one you were all her she there would their we him "
         "been has when who will no more if out so up").split()
TAG = re.compile(r"\[\[tag:([A-Za-z0-9_.:-]{1,128})\]\]")
REASON = {200: "OK", 302: "Found", 307: "Temporary Redirect", 400: "Bad Request",
          401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 408: "Request Timeout",
          413: "Content Too Large", 422: "Unprocessable Content", 429: "Too Many Requests",
          500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable",
          504: "Gateway Timeout", 529: "Overloaded"}


@functools.cache
def bomb() -> bytes:
    """256 MiB of blanks inside a JSON string, as 256 KiB of gzip."""
    z = zlib.compressobj(6, zlib.DEFLATED, 31)
    return (z.compress(b'{"id":"') + b"".join(z.compress(b" " * (1 << 20)) for _ in range(256))
            + z.compress(b'"}') + z.flush())


class Gone(Exception):
    """The answer is over: `outcome` says how."""

    def __init__(self, outcome):
        self.outcome = outcome


def seconds(text: str) -> float:
    return float(text[:-2]) / 1000 if text.endswith("ms") else float(text.rstrip("s"))


class Plan:
    """The faults of one request, by name, with their numbers."""

    def __init__(self, text: str):
        self.text = text
        self.names = [n for n in text.strip().strip("/").split("+") if n]

    def has(self, *names: str) -> bool:
        return any(n in self.names for n in names)

    def match(self, pattern: str):
        for name in self.names:
            m = re.fullmatch(pattern, name)
            if m:
                return m
        return None

    def num(self, pattern: str, default=None):
        m = self.match(pattern)
        return int(m[1]) if m else default

    def secs(self, pattern: str, default=0.0) -> float:
        m = self.match(pattern)
        return seconds(m[1]) if m else default


class Truth:
    """Append-only JSONL; `add` returns once the record is on disk. Writers share an fsync."""

    def __init__(self, path: str | None, fsync: bool):
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if path else None
        self.fsync, self.waiting, self.task = fsync, [], None

    async def add(self, record: dict) -> None:
        if self.fd is None:
            return
        done = asyncio.get_running_loop().create_future()
        self.waiting.append((json.dumps(record, ensure_ascii=True) + "\n", done))
        if self.task is None or self.task.done():
            self.task = asyncio.ensure_future(self._flush())
        await asyncio.shield(done)

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self.waiting:
            batch, self.waiting = self.waiting, []
            os.write(self.fd, "".join(line for line, _ in batch).encode())
            if self.fsync:
                await loop.run_in_executor(None, os.fsync, self.fd)
            for _, done in batch:
                if not done.done():
                    done.set_result(None)


class Upstream:
    def __init__(self, args):
        self.args = args
        self.truth = Truth(args.truth, not args.no_fsync)
        self.rng = random.Random(args.seed)
        self.secrets = dict(s.split("=", 1) for s in args.secret)
        self.reset()

    def reset(self) -> None:
        self.seq = self.open = self.peak = self.heads = self.words = 0
        self.count: dict[str, int] = {}
        self.outcomes: dict[str, int] = {}
        self.scripts: dict[str, list[str]] = {}
        self.tries: dict[str, int] = {}

    # ---- HTTP in
    async def serve(self, reader, writer) -> None:
        with contextlib.suppress(OSError, AttributeError):
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line, *fields = head.decode("latin-1").split("\r\n")
                method, path, _ = line.split(" ", 2)
                headers = {}
                for field in fields:
                    if ":" in field:
                        k, v = field.split(":", 1)
                        headers[k.strip().lower()] = v.strip()
                if headers.get("expect", "").lower() == "100-continue":
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await self.read_body(reader, headers)
                keep = await Answer(self, reader, writer, method, path, headers, head, body).run()
                if not keep:
                    break
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, OSError, Gone,
                asyncio.CancelledError):
            pass
        finally:
            with contextlib.suppress(Exception):
                writer.close()

    @staticmethod
    async def read_body(reader, headers) -> bytes:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            parts = []
            while True:
                size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
                data = await reader.readexactly(size + 2)
                if size == 0:
                    return b"".join(parts)
                parts.append(data[:-2])
        return await reader.readexactly(int(headers.get("content-length") or 0))


class Answer:
    """One request and what is done about it."""

    def __init__(self, up, reader, writer, method, path, headers, head, body):
        self.up, self.reader, self.writer = up, reader, writer
        self.method, self.path, self.headers = method, path.split("?")[0], headers
        self.received = head + body
        self.keep = headers.get("connection", "").lower() != "close"
        self.generated = self.sent = self.nbytes = 0
        self.usage = None
        self.charge = False  # whether a provider would charge for it
        self.dripping = False
        self.status = 0
        self.req: dict = {}
        with contextlib.suppress(ValueError, RecursionError):
            parsed = json.loads(body) if body else {}
            self.req = parsed if isinstance(parsed, dict) else {}

    # ---- what the request is
    def prompt_text(self) -> str:
        out: list[str] = []

        def walk(value) -> None:
            if isinstance(value, str):
                out.append(value)
            elif isinstance(value, list):
                for item in value:
                    walk(item)
            elif isinstance(value, dict):
                for key in ("content", "text", "input", "prompt"):
                    if key in value:
                        walk(value[key])

        for key in ("messages", "prompt", "input"):
            walk(self.req.get(key))
        return " ".join(out)

    def words_begun(self) -> int:
        """Where the last message is the assistant's and is to be gone on from, as vLLM is asked to:
        how many words it has. The answer then says the words that follow."""
        messages = self.req.get("messages")
        last = messages[-1] if isinstance(messages, list) and messages else None
        asked = (self.req.get("continue_final_message") is True
                 and self.req.get("add_generation_prompt") is False)
        if asked and isinstance(last, dict) and last.get("role") == "assistant":
            return len(str(last.get("content")).split())
        return 0

    def choose(self, model: str) -> str:
        up = self.up
        for key in (model, "*"):
            if up.scripts.get(key):
                return up.scripts[key].pop(0)
        if self.headers.get("x-fault"):
            return self.headers["x-fault"]
        if "fault/" in model:
            return model.split("fault/", 1)[1]
        m = re.match(r"/fault/([^/]+)/", self.path)
        return m[1] if m else up.args.fault

    async def run(self) -> bool:
        up = self.up
        if self.path.startswith("/__fault__/"):
            return await self.control()
        if self.method == "GET" and self.path.endswith("/models"):
            await self.reply(200, {"object": "list", "data": [
                {"id": "fault/ok", "object": "model", "created": 1, "owned_by": "faults"}]})
            return self.keep
        up.seq += 1
        up.open += 1
        up.peak = max(up.peak, up.open)
        model = self.req.get("model")
        model = model if isinstance(model, str) else ""
        self.model = model
        text = self.prompt_text()
        self.prompt_tokens = max(1, len(text.split()))
        self.plan = p = Plan(self.choose(model))
        tag = TAG.search(text)
        self.id = "chatcmpl-" + uuid.uuid4().hex
        self.stream = bool(self.req.get("stream"))
        want = self.req.get("max_completion_tokens", self.req.get("max_tokens"))
        self.n = self.req.get("n") if isinstance(self.req.get("n"), int) else 1
        self.n = max(1, min(self.n, 16))
        self.begun = self.words_begun()
        self.tokens = (min(want, 100000) if isinstance(want, int) and want > 0
                       else max(1, up.args.tokens - self.begun))
        options = self.req.get("stream_options")
        self.asked_usage = isinstance(options, dict) and options.get("include_usage") is True
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
        up.count[p.text] = up.count.get(p.text, 0) + 1
        base = {"seq": up.seq, "id": self.id, "tag": tag[1] if tag else None,
                "rid": self.headers.get("x-request-id"), "model": model, "fault": p.text,
                "path": self.path, "stream": self.stream, "n": self.n,
                "prompt_tokens": self.prompt_tokens, "begun": self.begun,
                "key": hashlib.sha256(bearer.encode()).hexdigest()[:16] if bearer else None,
                "idempotency": self.headers.get("idempotency-key"),
                "headers": sorted(self.headers),
                "leaks": [n for n, v in up.secrets.items() if v.encode() in self.received]}
        await up.truth.add({"ev": "begin", "t": time.time(), **base})
        started, outcome = time.monotonic(), "complete"
        try:
            await self.act()
            if self.status >= 400:
                outcome = "error"
        except Gone as err:
            outcome = err.outcome
        except (OSError, asyncio.IncompleteReadError):
            outcome = "client_gone"
        except Exception:  # a mistake in this file: say so, do not look like a fault
            outcome = "bug"
            traceback.print_exc()
        finally:
            up.open -= 1
        if outcome != "complete":
            self.keep = False if outcome != "error" else self.keep
        charged = self.charge and 200 <= self.status < 300
        up.outcomes[outcome] = up.outcomes.get(outcome, 0) + 1
        await up.truth.add({"ev": "end", "t": time.time(), **base, "outcome": outcome,
                            "status": self.status, "generated": self.generated,
                            "sent": self.sent, "usage": self.usage, "bytes": self.nbytes,
                            "secs": round(time.monotonic() - started, 6),
                            "billable": {"prompt": self.prompt_tokens if charged else 0,
                                         "completion": self.generated if charged else 0}})
        if p.has("stale-keepalive") and self.keep:
            await asyncio.sleep(0.05)
            return False
        return self.keep

    async def control(self) -> bool:
        up = self.up
        if self.path.endswith("/reset"):
            up.reset()
        elif self.path.endswith("/script"):
            up.scripts.setdefault(str(self.req.get("model", "*")), []).extend(
                str(f) for f in self.req.get("faults", []))
        await self.reply(200, {"requests": up.seq, "open": up.open, "peak": up.peak,
                               "by_fault": up.count, "outcomes": up.outcomes,
                               "scripts": up.scripts})
        return self.keep

    # ---- HTTP out
    def gone(self) -> bool:
        """Whether the caller has hung up: FIN, or RST (which is no EOF for the reader)."""
        return (self.reader.at_eof() or self.reader.exception() is not None
                or self.writer.is_closing())

    async def put(self, data: bytes) -> None:
        if self.gone():
            raise Gone("client_gone")
        step = self.plan.match(r"slow-drip(?:-(.+))?") if hasattr(self, "plan") else None
        if step or self.dripping:
            gap = 0.02 if not step else seconds(step[1]) if step[1] else 0.05
            for i in range(len(data)):
                self.writer.write(data[i:i + 1])
                await self.writer.drain()
                await asyncio.sleep(gap)
                if self.gone():
                    raise Gone("client_gone")
        elif data:
            self.writer.write(data)
            await self.writer.drain()
        self.nbytes += len(data)

    async def wait(self, secs: float) -> None:
        """Pause, but notice at once where the caller hangs up."""
        end = time.monotonic() + secs
        while time.monotonic() < end:
            if self.gone():
                raise Gone("client_gone")
            await asyncio.sleep(0.02)

    async def until_gone(self, limit: float = 900) -> None:
        """Stay silent until the caller hangs up."""
        self.charge = self.status == 200  # it is at work, one must suppose
        end = time.monotonic() + limit
        while time.monotonic() < end and not self.gone():
            await asyncio.sleep(0.02)
        raise Gone("client_gone" if self.gone() else "hang")

    async def chatter(self) -> None:
        """Busy with saying nothing, until the caller hangs up."""
        self.charge = True
        while True:
            await self.raw(b": still here\n\n")
            await self.event(self.chunk({"role": "assistant", "content": ""}))
            await self.wait(0.05)

    def rst(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            self.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        raise Gone("reset")

    async def head(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.status = status
        p = getattr(self, "plan", None)
        lines = ["HTTP/1.1 %d %s" % (status, REASON.get(status, "X"))]
        lines += ["%s: %s" % h for h in headers]
        if p:
            lines.append("x-request-id: up-" + self.id)
            if p.has("evil-headers"):
                lines += ["Set-Cookie: up=1; Domain=example.org", "Server: secret-build-7",
                          "Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=1",
                          "Proxy-Authenticate: Basic", "Access-Control-Allow-Origin: *",
                          "X-Internal-Key: sk-upstream-secret", "Alt-Svc: h3=\":443\"",
                          "Strict-Transport-Security: max-age=0", "Location: http://x.invalid/",
                          "X-Accel-Redirect: /etc/passwd", "Refresh: 0; url=http://x.invalid/"]
            if p.has("huge-header"):
                lines.append("X-Huge: " + "h" * 200_000)
            if p.has("many-headers"):
                lines += ["X-M%d: 1" % i for i in range(2000)]
            if p.match(r"limit-\d+"):
                lines += ["X-RateLimit-Limit-Requests: 100",
                          "X-RateLimit-Remaining-Requests: %d" % p.num(r"limit-(\d+)"),
                          "X-RateLimit-Reset-Requests: 2s"]
            if p.has("crlf-model"):
                lines.append("X-Model: " + json.dumps(self.model))
            if p.has("early-hints"):
                await self.put(b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n")
        data = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        if p and p.has("slow-headers"):
            for i in range(len(data)):
                await self.put(data[i:i + 1])
                await asyncio.sleep(0.05)
        else:
            await self.put(data)
        self.up.heads += 1

    async def reply(self, status: int, body, ctype="application/json", extra=(),
                    usage=None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        p = getattr(self, "plan", None) or Plan("")
        headers = [("Content-Type", "text/html" if p.has("wrong-type") else ctype), *extra]
        if p.has("gzip", "gzip-broken"):
            data = gzip.compress(data)
            data = data[:len(data) * 6 // 10] if p.has("gzip-broken") else data
        if p.has("gzip", "gzip-broken", "gzip-lie"):
            headers.append(("Content-Encoding", "gzip"))
        if p.has("gzip-bomb"):
            data = bomb()
            headers.append(("Content-Encoding", "gzip"))
        length, send = len(data), data
        if p.has("wrong-content-length"):
            length += 100
        elif p.has("short-content-length"):
            length = max(1, length // 2)
        elif p.has("truncated-json"):
            send = data = data[:len(data) * 2 // 3]
            length = len(data)
        if p.has("no-length"):
            headers.append(("Connection", "close"))
            self.keep = False
        else:
            headers.append(("Content-Length", str(length)))
            if p.has("two-lengths"):
                headers.append(("Content-Length", str(length + 7)))
        await self.head(status, headers)
        if p.has("hang-after-headers"):
            await self.until_gone()
        if p.has("hang-in-body"):
            await self.put(send[:len(send) // 2])
            await self.until_gone()
        if p.has("reset-in-body"):
            await self.put(send[:len(send) // 2])
            await asyncio.sleep(0.02)
            self.rst()
        await self.put(send)
        self.sent = self.generated
        if not p.has("truncated-json", "short-content-length", "gzip-broken", "gzip-lie"):
            self.usage = usage  # it can be read
        if p.has("wrong-content-length", "short-content-length", "two-lengths"):
            raise Gone("cut")
        if p.has("truncated-json", "gzip-broken", "gzip-lie", "gzip-bomb"):
            raise Gone("cut")

    def error(self, status: int, kind: str, message: str, code=None) -> dict:
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}

    # ---- the faults that come before any content
    async def act(self) -> None:
        p, up = self.plan, self.up
        n = p.num(r"fail-(\d+)-then-ok")
        if n is not None:
            key = "%s %s" % (self.model, p.text)
            up.tries[key] = up.tries.get(key, 0) + 1
            if up.tries[key] <= n:
                p.names.append("503")
        n = p.num(r"flaky-(\d+)")
        if n is not None and up.rng.random() * 100 < n:
            p.names.append(up.rng.choice(["500", "503", "reset", "cut-after-2-chunks"]))
        n = p.num(r"capacity-(\d+)")
        if n is not None and up.open > n:
            p.names.append("429-retry-after-1")
        if p.has("refuse"):
            raise Gone("cut")
        if p.has("reset"):
            self.rst()
        if p.has("hang"):
            await self.until_gone()
        wait = p.secs(r"slow-ttft-(.+)", up.args.delay_ms / 1000)
        if wait:
            end = time.monotonic() + wait
            while time.monotonic() < end:
                await asyncio.sleep(min(0.02, max(0.001, end - time.monotonic())))
                if self.gone():
                    raise Gone("client_gone")
        m = p.match(r"([2-5]\d\d)(?:-(.+))?")
        if m:
            await self.act_status(int(m[1]), m[2] or "")
        elif p.match(r"html-(\d+)"):
            await self.reply(p.num(r"html-(\d+)"), b"<html><head><title>502 Bad Gateway</title></head><body>"
                                  b"<center><h1>502 Bad Gateway</h1></center></body></html>",
                             "text/html")
        elif p.has("error-200"):
            await self.reply(200, self.error(200, "server_error", "made up failure"))
        elif p.has("redirect"):
            await self.reply(307, b"", extra=[("Location", "/fault/ok/v1/chat/completions")])
        elif p.has("redirect-metadata"):
            await self.reply(302, b"", extra=[
                ("Location", "http://169.254.169.254/latest/meta-data/")])
        elif self.path.endswith("/embeddings"):
            await self.embeddings()
        elif self.path.endswith("/completions"):
            await self.completion()
        else:
            await self.reply(404, self.error(404, "invalid_request_error", "no such path"))

    async def act_status(self, status: int, detail: str) -> None:
        extra, kind, code, text = [], "server_error", None, "made up failure %d" % status
        if 400 <= status < 500:
            kind = "rate_limit_error" if status == 429 else "invalid_request_error"
        if detail == "retry-after-date":
            when = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 2))
            extra.append(("Retry-After", when))
        elif detail == "retry-after-bogus":
            extra.append(("Retry-After", "soon, 1e9"))
        elif detail.startswith("retry-after-ms-"):
            extra.append(("retry-after-ms", detail[15:]))
        elif detail.startswith("retry-after-"):
            extra.append(("Retry-After", "%d" % seconds(detail[12:])))
        elif detail == "quota":
            kind = code = "insufficient_quota"
            text = "You exceeded your current quota"
        elif detail.startswith("code-"):
            kind = code = detail[5:]
        elif detail == "context":
            code, text = "context_length_exceeded", "maximum context length is 8 tokens"
        elif detail == "filter":
            code, text = "content_filter", "the prompt was filtered"
        await self.reply(status, self.error(status, kind, text, code), extra=extra)

    # ---- content
    def word(self, i: int) -> str:
        if self.plan.has("unicode"):
            return ("naïve", "日本語", "🤖👩‍🚀", "مرحبا", "e\u0301", "\u2028x")[i % 6]
        return WORDS[(i * 7 + self.up.seq) % len(WORDS)]

    def usage_object(self, completion: int) -> dict:
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": completion,
                "total_tokens": self.prompt_tokens + completion}

    def usage_faulty(self, completion: int):
        """The usage object as this plan sends it; MISSING for none at all."""
        p, u = self.plan, self.usage_object(completion)
        if p.has("no-usage"):
            return MISSING
        if p.has("usage-null"):
            return None
        if p.has("usage-zero"):
            return dict.fromkeys(u, 0)
        if p.has("usage-negative"):
            return {k: -v for k, v in u.items()}
        if p.has("usage-string"):
            return {k: str(v) for k, v in u.items()}
        if p.has("usage-float"):
            return {k: v + 0.5 for k, v in u.items()}
        if p.has("usage-huge"):
            return dict.fromkeys(u, 10 ** 18)
        if p.has("usage-nan"):
            return dict.fromkeys(u, float("nan"))
        if p.has("usage-partial"):
            return {"prompt_tokens": self.prompt_tokens}
        if p.has("usage-bad-total"):
            return {**u, "total_tokens": u["total_tokens"] + 1000}
        return u

    async def embeddings(self) -> None:
        self.charge = True
        items = self.req.get("input")
        items = items if isinstance(items, list) else [items]
        usage = self.usage_faulty(0)
        body = {"object": "list", "model": self.model, "data": [
            {"object": "embedding", "index": i, "embedding": [0.0, 0.5, -0.5]}
            for i in range(len(items))]}
        if usage is not MISSING:
            if isinstance(usage, dict):
                usage.pop("completion_tokens", None)
            body["usage"] = usage
        await self.reply(200, body, usage=body.get("usage"))

    async def completion(self) -> None:
        p = self.plan
        stream = (self.stream or p.has("stream-for-json")) and not p.has("json-for-stream")
        if p.has("empty-body"):
            await self.reply(200, b"", "text/event-stream" if stream else "application/json")
        elif p.has("invalid-json") and not stream:
            self.generated = self.tokens * self.n
            self.charge = True
            await self.reply(200, b'{"id": "x", "choices": [}, \xff\xfe')
        elif p.has("deep-json"):
            await self.reply(200, b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
        elif stream:
            await self.streamed()
        else:
            await self.whole()

    async def whole(self) -> None:
        p = self.plan
        gap = p.secs(r"gap-(.+)", self.up.args.chunk_ms / 1000)
        if gap:
            await asyncio.sleep(gap * self.tokens)
        content = " ".join(self.word(i) for i in range(self.tokens))
        huge = p.match(r"huge-line(?:-(\d+))?")
        if huge:
            content = "x" * (int(huge[1] or 8) << 20)
        self.generated = self.tokens * self.n
        self.charge = True
        chat = self.path.endswith("/chat/completions")
        choices = []
        for i in range(self.n + (2 if p.has("many-choices") else 0)):
            message = {"role": "assistant", "content": None if p.has("null-content") else content}
            if p.has("tool-calls"):
                message = {"role": "assistant", "content": None, "tool_calls": [
                    {"id": "call_1", "type": "function",
                     "function": {"name": "f", "arguments": "{\"a\": 1}"}}]}
            finish = ("tool_calls" if p.has("tool-calls") else
                      "length" if p.has("finish-length") else "stop")
            choices.append({"index": i, "finish_reason": finish, "logprobs": None,
                            **({"message": message} if chat else {"text": content})})
        body = {"id": self.id, "object": "chat.completion" if chat else "text_completion",
                "created": int(time.time()), "model": self.model, "choices": choices}
        if p.has("unknown-fields"):
            body.update(x_vendor={"a": [1, None, {"b": True}]}, service_tier="mystery")
        usage = self.usage_faulty(self.generated)
        if usage is not MISSING:
            body["usage"] = usage
        data = json.dumps(body).encode()
        await self.reply(200, data, usage=body.get("usage"))

    async def streamed(self) -> None:
        p = self.plan
        gap = p.secs(r"gap-(.+)", self.up.args.chunk_ms / 1000)
        headers = [("Content-Type", "application/json" if p.has("wrong-type")
                    else "text/event-stream; charset=utf-8"), ("Cache-Control", "no-cache")]
        self.chunked = not p.has("no-length")
        headers.append(("Transfer-Encoding", "chunked") if self.chunked
                       else ("Connection", "close"))
        self.keep = self.keep and self.chunked
        self.squeeze = None
        if p.has("gzip", "gzip-stream"):
            headers.append(("Content-Encoding", "gzip"))
            self.squeeze = zlib.compressobj(6, zlib.DEFLATED, 31)
        await self.head(200, headers)
        self.held: list[bytes] | None = [] if p.has("sse-one-write") else None
        if p.has("hang-after-headers"):
            await self.until_gone()
        if p.has("empty-stream"):
            return await self.finish()
        if p.has("only-done"):
            await self.event("[DONE]")
            return await self.finish()
        if p.has("sse-bom"):
            await self.raw("\ufeff".encode())
        if p.has("bad-chunk"):
            self.writer.write(b"zz\r\nnot a chunk\r\n")
            await self.writer.drain()
            raise Gone("cut")
        if p.has("usage-first"):
            await self.event(self.chunk({}, usage=self.usage_object(0), choices=False))
        chat = self.path.endswith("/chat/completions")
        if chat:
            await self.event(self.chunk({"role": "assistant", "content": ""}))
        cut = p.num(r"cut-after-(\d+)-chunks?")
        rst = p.num(r"rst-after-(\d+)-chunks?")
        hang = p.num(r"hang-after-(\d+)-chunks?")
        drip = p.num(r"drip-after-(\d+)-chunks?")
        chatter = 0 if p.has("chatter") else p.num(r"chatter-after-(\d+)-chunks?")
        err = p.num(r"error-in-stream(?:-after-(\d+))?") if p.match(
            r"error-in-stream-after-\d+") else (2 if p.has("error-in-stream") else None)
        total = 10 ** 6 if p.has("endless") else self.tokens
        for i in range(total):
            if cut is not None and i >= cut:
                raise Gone("cut")
            if rst is not None and i >= rst:
                await asyncio.sleep(0.02)
                self.rst()
            if hang is not None and i >= hang:
                await self.until_gone()
            self.dripping = drip is not None and i >= drip
            if chatter is not None and i >= chatter:
                await self.chatter()
            if err is not None and i >= err:
                await self.event(self.error(500, "server_error", "made up failure in stream"))
                return await self.finish()
            if p.has("error-event") and i == 2:
                await self.raw(b"event: error\ndata: " + json.dumps(self.error(
                    529, "overloaded_error", "Overloaded")).encode() + b"\n\n")
                return await self.finish()
            if p.has("malformed-sse") and i == 2:
                await self.raw(b"garbage without a colon\n\ndata: {\"choices\": [}\n\n"
                               b":\n\ndata\n\nunknown: 1\n\n")
            if p.has("bad-utf8") and i == 2:
                await self.raw(b'data: {"choices":[{"index":0,"delta":{"content":"\xff\xc3"}}]}\n\n')
            if p.has("sse-comments"):
                await self.raw(b": keep-alive %d\n\n" % i)
            huge = p.match(r"huge-line(?:-(\d+))?") if i == 1 else (
                p.match(r"huge-first-(\d+)") if i == 0 else None)
            piece = "x" * (int(huge[1] or 8) << 20) if huge else (
                (" " if i + self.begun else "") + self.word(i + self.begun))
            self.generated += self.n
            self.charge = True
            for choice in range(self.n):
                delta: dict = {"content": None if p.has("null-content") else piece}
                if p.has("tool-calls"):
                    delta = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
                    if i == 0:
                        delta["tool_calls"][0].update(id="call_1", type="function")
                        delta["tool_calls"][0]["function"]["name"] = "f"
                usage = (self.usage_object(self.generated)
                         if p.has("usage-in-every-chunk") else MISSING)
                event = self.chunk(delta, index=choice, usage=usage, text=piece)
                if p.has("cut-mid-event") and i == 3:
                    data = ("data: " + json.dumps(event)).encode()
                    await self.raw(data[:len(data) // 2])
                    raise Gone("cut")
                await self.event(event)
                self.sent += 1
                self.up.words += 1
            if gap:
                await asyncio.sleep(gap)
        usage = self.usage_faulty(self.generated)
        send_usage = usage is not MISSING and (
            self.asked_usage or p.match("usage-.*") or p.match("sse-.*|cut-before-usage"))
        finish = ("tool_calls" if p.has("tool-calls") else
                  "length" if p.has("finish-length") else "stop")
        with_finish = p.has("usage-with-finish", "usage-in-every-chunk")
        for choice in range(0 if p.has("no-finish") else self.n):
            await self.event(self.chunk({}, index=choice, finish=finish, text="",
                                        usage=usage if with_finish else MISSING))
        if p.has("cut-before-usage"):
            raise Gone("cut")
        if p.match("slow-usage-.+"):
            await self.wait(p.secs("slow-usage-(.+)"))
        if send_usage and not with_finish:
            if p.has("usage-conflict"):
                await self.event(self.chunk({}, choices=False,
                                            usage=self.usage_object(self.generated + 1000)))
            for _ in range(2 if p.has("usage-twice") else 1):
                await self.event(self.chunk({}, usage=usage, choices=False))
        if send_usage or with_finish:
            self.usage = usage if usage is not MISSING else None
        if not p.has("no-done"):
            await self.event("[DONE]")
        if p.has("data-after-done"):
            await self.event(self.chunk({"content": " after"}))
        await self.finish()

    def chunk(self, delta, index=0, finish=None, usage=None, choices=True, text="") -> dict:
        chat = self.path.endswith("/chat/completions")
        out = {"id": self.id, "object": "chat.completion.chunk" if chat else "text_completion",
               "created": int(time.time()), "model": self.model, "choices": []}
        if choices:
            out["choices"] = [{"index": index, "finish_reason": finish, "logprobs": None,
                               **({"delta": delta} if chat else {"text": text})}]
            if usage is MISSING:
                usage = None
                if not self.asked_usage:
                    return out
        if usage is not MISSING and (choices is False or usage is not None or self.asked_usage):
            out["usage"] = usage
        return out

    async def event(self, data) -> None:
        p = self.plan
        text = data if isinstance(data, str) else json.dumps(
            data, ensure_ascii=not p.has("unicode", "sse-split-utf8"))
        nl = "\r\n" if p.has("sse-crlf") else "\r" if p.has("sse-cr") else "\n"
        prefix = "data:" if p.has("sse-no-space", "malformed-sse") else "data: "
        if p.has("sse-multi-data") and text.startswith("{"):
            # a line break is allowed between the members of an object
            text = text.replace(", ", "," + nl + prefix, 2)
        out = prefix + text + nl + nl
        if p.has("sse-events"):
            out = "event: message" + nl + "id: %d" % self.nbytes + nl + "retry: 10" + nl + out
        await self.raw(out.encode())

    async def raw(self, data: bytes) -> None:
        p = self.plan
        if self.squeeze:
            data = self.squeeze.compress(data) + self.squeeze.flush(zlib.Z_SYNC_FLUSH)
        if self.held is not None:
            self.held.append(data)
            return
        if p.has("sse-byte-by-byte"):
            parts = [data[i:i + 1] for i in range(len(data))]
        elif p.has("sse-split-utf8"):
            at = next((i + 1 for i, b in enumerate(data) if b >= 0xC0), len(data) // 2)
            parts = [data[:at], data[at:]]
        else:
            parts = [data]
        for part in parts:
            if part:
                await self.put(b"%x\r\n%b\r\n" % (len(part), part) if self.chunked else part)
                if len(parts) > 1:
                    await asyncio.sleep(0.001)

    async def finish(self) -> None:
        if self.held:
            data, self.held = b"".join(self.held), None
            await self.put(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)
        if self.squeeze:
            data = self.squeeze.flush()
            await self.put(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)
        if self.chunked:
            await self.put(b"0\r\n\r\n")


MISSING = object()


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    ap = argparse.ArgumentParser(description="an OpenAI-compatible upstream with faults")
    ap.add_argument("--host", default="127.0.0.1")
    ap.add_argument("--port", type=int, default=9001)
    ap.add_argument("--truth", help="append what was really served, as JSONL")
    ap.add_argument("--no-fsync", action="store_true")
    ap.add_argument("--fault", default="ok", help="for models that name none")
    ap.add_argument("--tokens", type=int, default=16, help="completion tokens when unasked")
    ap.add_argument("--delay-ms", type=float, default=0, help="before every answer")
    ap.add_argument("--chunk-ms", type=float, default=0, help="between the chunks")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--secret", action="append", default=[], metavar="NAME=VALUE",
                    help="a value no request may contain; seen ones are named in `leaks`")
    return ap.parse_args(argv)


async def start(args: argparse.Namespace) -> tuple["Upstream", asyncio.Server]:
    """For use inside a test: returns (Upstream, asyncio server)."""
    up = Upstream(args)
    server = await asyncio.start_server(up.serve, args.host, args.port, limit=64 << 20,
                                        backlog=2048)
    return up, server


async def main(argv=None) -> None:
    args = parse(argv)
    _, server = await start(args)
    print("ready http://%s:%d/v1" % server.sockets[0].getsockname()[:2], flush=True)
    done = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, done.set)
    await done.wait()
    server.close()


if __name__ == "__main__":
    try:
        import uvloop  # optional, faster
        uvloop.install()
    except ImportError:
        pass
    sys.exit(asyncio.run(main()))
