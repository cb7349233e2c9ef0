#!/usr/bin/env python3
# Standard library only and in a style of its own, since it is copied to wherever a fault is needed.
# ruff: noqa
# fmt: off
# mypy: ignore-errors
"""reconcile - hold a gateway's usage records against what the fault upstreams served.

    python tests/faults/reconcile.py --truth truth.jsonl --usage usage.jsonl [--tolerance 0.25]

Truth: the file of fault_upstream.py (several may be given). Usage: JSONL, one billed attempt a
line, exported from the gateway; the names of its fields are options. A usage line is joined
with an upstream answer by the first of the upstream's response id, the x-request-id the
gateway sent (an id per attempt) and the [[tag:...]] of the prompt that fits.

Findings, counted in records and in tokens:

  unmetered   the upstream charges for it, no usage line            (money lost)
  double      more than one usage line for one answer               (customer overbilled)
  phantom     a usage line with tokens for no answer                (customer overbilled)
  overbilled  tokens for an answer that is free (an error status)
  mismatch    the upstream reported usable usage in full, the line has other numbers
  inexact     the same, but the line says estimated (right only where the gateway died, or
              hung up because its client had)
  unmarked    no usable usage was sent, yet the line does not say estimated
  off         an estimate further off than the tolerance
  unknown     a line that says unknown: on record, not charged (right only where the gateway
              died before it saw the status of the answer)
  unfinished  the upstream itself has no end record (it was killed): not judged

Exit status 1 if there is any finding but `unfinished` and those in --allow; a test that kills
the gateway allows inexact, off and unknown, and checks that there are no more of these than
requests were in flight at the kills. --json prints the counts.
"""
from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict


def load(paths):
    for path in paths:
        with open(path, encoding="utf-8") as f:
            for line in f:
                if line.endswith("\n"):  # a torn last line is not a record
                    yield json.loads(line)


def usable(usage, generated) -> bool:
    """Whether the usage object that was sent can be billed from as it is."""
    if not isinstance(usage, dict):
        return False
    p, c = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    whole = lambda v: isinstance(v, int) and not isinstance(v, bool)
    return whole(p) and whole(c) and p > 0 and 0 <= c <= max(generated, 0) and (
        c > 0 or generated == 0)


def reconcile(truth, usage, a) -> dict:
    begun, ended = {}, {}
    for r in truth:
        (begun if r["ev"] == "begin" else ended)[r["id"]] = r
    by_id, by_rid, by_tag = {}, defaultdict(list), defaultdict(list)
    for r in [*begun.values(), *ended.values()]:  # the end record, where there is one
        by_id[r["id"]] = r
    for r in by_id.values():
        if r["rid"]:
            by_rid[r["rid"]].append(r["id"])
        if r["tag"]:
            by_tag[r["tag"]].append(r["id"])
    lines, found = defaultdict(list), defaultdict(list)
    for u in usage:
        key = u.get(a.id)
        if key not in by_id:
            fits = by_rid.get(u.get(a.rid), []) or by_tag.get(u.get(a.tag), [])
            fits = [f for f in fits if not lines[f]] or fits  # an attempt with none yet first
            key = fits[0] if fits else None
        if key is None and u.get(a.unknown):
            found["unknown"].append((0, u))
        elif key is None:
            n = int(u.get(a.prompt) or 0) + int(u.get(a.completion) or 0)
            if n:
                found["phantom"].append((n, u))
        else:
            lines[key].append(u)
    total = metered = 0
    for r in ended.values():
        due = r["billable"]["prompt"] + r["billable"]["completion"]
        total += due
        mine = lines.get(r["id"], [])
        got = [(int(u.get(a.prompt) or 0), int(u.get(a.completion) or 0)) for u in mine]
        tokens = sum(p + c for p, c in got)
        metered += tokens
        if due == 0:
            if tokens:
                found["overbilled"].append((tokens, r))
        elif not mine:
            found["unmetered"].append((due, r))
        elif len(mine) > 1:
            found["double"].append((tokens - due, r))
        elif mine[0].get(a.unknown):
            found["unknown"].append((due, r))
        else:
            estimated = bool(mine[0].get(a.estimated))
            if usable(r["usage"], r["generated"]):
                want = (r["usage"]["prompt_tokens"], r["usage"].get("completion_tokens", 0))
                if got[0] != want or estimated:
                    found["inexact" if estimated else "mismatch"].append((abs(tokens - sum(want)), r))
            elif not estimated:
                found["unmarked"].append((tokens, r))
            elif abs(tokens - due) > a.tolerance * due + a.slack:
                found["off"].append((abs(tokens - due), r))
    for key in begun.keys() - ended.keys():
        found["unfinished"].append((0, begun[key]))
    return {"answers": len(ended), "billable_tokens": total, "metered_tokens": metered,
            "findings": {k: {"records": len(v), "tokens": sum(n for n, _ in v),
                             "examples": [x for _, x in v[:a.examples]]}
                         for k, v in sorted(found.items())}}


def main(argv=None) -> int:
    p = argparse.ArgumentParser(description="usage records against upstream truth")
    p.add_argument("--truth", action="append", required=True)
    p.add_argument("--usage", action="append", required=True)
    p.add_argument("--id", default="upstream_id")
    p.add_argument("--rid", default="attempt_id")
    p.add_argument("--tag", default="tag")
    p.add_argument("--prompt", default="prompt_tokens")
    p.add_argument("--completion", default="completion_tokens")
    p.add_argument("--estimated", default="estimated")
    p.add_argument("--unknown", default="unknown")
    p.add_argument("--allow", default="", help="findings that are no failure, with commas")
    p.add_argument("--tolerance", type=float, default=0.25)
    p.add_argument("--slack", type=int, default=8, help="tokens an estimate may be off anyway")
    p.add_argument("--examples", type=int, default=2)
    p.add_argument("--json", action="store_true")
    a = p.parse_args(argv)
    report = reconcile(load(a.truth), load(a.usage), a)
    bad = [k for k in report["findings"] if k not in ["unfinished", *a.allow.split(",")]]
    if a.json:
        print(json.dumps(report, indent=1))
    else:
        print("answers %(answers)d, billable tokens %(billable_tokens)d, "
              "metered %(metered_tokens)d" % report)
        for kind, f in report["findings"].items():
            print("%-11s %6d records %9d tokens" % (kind, f["records"], f["tokens"]))
            for x in f["examples"]:
                print("            " + json.dumps(x)[:300])
        print("NOT RECONCILED: " + ", ".join(bad) if bad else "reconciled")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
