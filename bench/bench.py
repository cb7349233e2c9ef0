#!/usr/bin/env python3
"""Benchmark an OpenAI-compatible LLM gateway against a mock upstream, a direct call and nginx.

Usage
  1. Start your gateway on loopback, pinned to one core, with one OpenAI-type upstream at
     http://127.0.0.1:9100/v1 (any upstream key) serving the model you name below:
         taskset -c 1 my-gateway --port 8000 & echo $!
  2. python3 bench.py --target ours,url=http://127.0.0.1:8000/v1,model=bench,key=sk-x,pid=1234 --nginx
     Compare several (LiteLLM, another commit, ...) by repeating --target. Rounds are interleaved
     A B A B, so slow drift of the machine hits all targets alike.
     --target fields: NAME,url=,model=,key=,pid=   and any number of header=Name: value
     pid is the gateway's main process; children are counted too (CPU and RSS).
  3. A table goes to stdout, everything to --json FILE.

`make bench` does all of this for this project's own gateway (run.py). The mock (mock.c) and load generator
(load.c) are compiled with cc on first use, into bench/bin, and run on --load-cpu (default 0); put gateways on
another core, so that "per core" means the gateway's core.
Needs: Linux, Python 3.9+, a C compiler; nginx (Debian package) for --nginx. Only 127.0.0.1 is used.

Phases (--only to choose)
  sat     closed loop, 64 connections: requests/s one gateway core can carry; CPU per 1000 requests
  one     closed loop, 1 connection: latency of a lone request
  rate    open loop at --rate requests/s (default 50): latency from the scheduled time
  big     closed loop, 8 connections, 100 KB prompts
  ttft    1 stream at a time, 20 chunks, 5 ms apart: time to first chunk, per-chunk delay
  fan     500 streams at once, 100 chunks each, 20 ms apart: chunks/s carried, delay and gap p99
  fan50   the same with 50 streams
  chunks  32 streams, no delay between chunks: chunks/s one gateway core can carry
"added" latency is the gateway's figure minus the direct one of the same round.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

HERE = os.path.dirname(os.path.abspath(__file__))
CLK = os.sysconf("SC_CLK_TCK")
FILL = "The quick brown fox jumps over the lazy dog while the gateway counts tokens. "
PHASES = ["sat", "one", "rate", "big", "ttft", "fan50", "fan", "chunks"]


def build(cache):
    os.makedirs(cache, exist_ok=True)
    out = {}
    for name in ("mock", "load"):
        src, exe = os.path.join(HERE, name + ".c"), os.path.join(cache, name)
        if not os.path.exists(exe) or os.path.getmtime(exe) < os.path.getmtime(src):
            subprocess.run(["cc", "-O2", "-o", exe, src], check=True)
        out[name] = exe
    return out


def body(model, knobs, size=800, stream=False):
    b = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant. BENCH:" + knobs + ";"},
            {"role": "user", "content": (FILL * (size // len(FILL) + 1))[:size]},
        ],
        "temperature": 0.7,
        "max_tokens": 256,
    }
    if stream:
        b["stream"] = True
        b["stream_options"] = {"include_usage": True}
    return json.dumps(b).encode()


def stat(pid):
    """the fields of /proc/PID/stat from the third on; the second, a name in brackets, may hold anything"""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def tree(pid):
    """pid and all its descendants"""
    kids = {}
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                s = stat(p)
                kids.setdefault(int(s[1]), []).append(int(p))
            except OSError:
                pass
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        todo += kids.get(p, [])
    return out


def cpu_rss(pid):
    """(user seconds, system seconds, RSS MiB) of a process tree"""
    u = s = rss = 0
    for p in tree(pid):
        try:
            f = stat(p)
            u, s, rss = u + int(f[11]), s + int(f[12]), rss + int(f[21])
        except OSError:
            pass
    return u / CLK, s / CLK, rss * os.sysconf("SC_PAGE_SIZE") / 2**20


def everyone(ours):
    """CPU seconds used so far by every process that is not ours, and stolen by the hypervisor"""
    tot = 0
    for p in os.listdir("/proc"):
        if p.isdigit() and int(p) not in ours:
            try:
                f = stat(p)
                tot += int(f[11]) + int(f[12])
            except OSError:
                pass
    steal = int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8])
    return tot / CLK, steal / CLK


def spin(cpu):
    """milliseconds a fixed piece of work takes on that core: tells when a neighbour slows us"""
    old = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(cpu)})
    best = 1e9
    for _ in range(3):
        t, x = time.perf_counter(), 0
        for i in range(150000):
            x += i ^ 3
        best = min(best, (time.perf_counter() - t) * 1000)
    os.sched_setaffinity(0, old)
    return best


class Target:
    def __init__(self, spec):
        parts = spec.split(",")
        self.name, self.headers, self.pid, self.model, key = parts[0], [], None, "bench", None
        for p in parts[1:]:
            k, _, v = p.partition("=")
            if k == "url":
                self.url = v.rstrip("/")
            elif k == "model":
                self.model = v
            elif k == "key":
                key = v
            elif k == "pid":
                self.pid = int(v)
            elif k == "header":
                self.headers.append(v)
            else:
                raise SystemExit(f"unknown target field {k!r}")
        if key:
            self.headers.append("Authorization: Bearer " + key)
        u = urllib.parse.urlsplit(self.url)
        self.host, self.port, self.path = u.hostname, u.port or 80, u.path + "/chat/completions"


def load_once(a, t, bod, kw):
    f = os.path.join(a.tmp, "body.json")
    with open(f, "wb") as fh:
        fh.write(bod)
    cmd = ["taskset", "-c", str(a.load_cpu), a.exe["load"], "-h", t.host, "-p", str(t.port), "-P", t.path, "-b", f]
    for h in t.headers:
        cmd += ["-H", h]
    for k, v in kw.items():
        cmd += ["-" + k] if v is True else ["-" + k, str(v)]
    warm, c0 = float(kw.get("w", 1)), None
    s0 = spin(a.gateway_cpu)
    p = subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(warm + 0.05)  # CPU is taken over the measured window only
    ours = {p.pid, os.getpid(), *a.mine, *(tree(t.pid) if t.pid else ())}
    w0, e0, c0 = time.monotonic(), everyone(ours), cpu_rss(t.pid) if t.pid else None
    time.sleep(max(0.2, float(kw["d"]) - 0.2))
    w1, e1, c1 = time.monotonic(), everyone(ours), cpu_rss(t.pid) if t.pid else None
    out, err = p.communicate(timeout=float(kw["d"]) + warm + 120)
    r, wall = json.loads(out), w1 - w0
    for _ in range(20):  # let the gateway finish what was in flight before judging the machine
        b = cpu_rss(t.pid)[:2] if t.pid else (0, 0)
        time.sleep(0.1)
        if not t.pid or sum(cpu_rss(t.pid)[:2]) - sum(b) < 0.03:
            break
    r["spin_ms"] = max(s0, spin(a.gateway_cpu))
    r["foreign_pct"], r["steal_pct"] = 100 * (e1[0] - e0[0]) / wall, 100 * (e1[1] - e0[1]) / wall
    if err:
        r["stderr"] = err.decode(errors="replace")[:600]
    if c0:
        du, ds = c1[0] - c0[0], c1[1] - c0[1]
        r.update(cpu_pct=100 * (du + ds) / wall, cpu_user_pct=100 * du / wall, rss_mib=c1[2])
        if r["rps"]:
            r["cpu_s_per_1000"] = (du + ds) / wall / r["rps"] * 1000
        if r.get("chunks_per_s"):
            r["cpu_us_per_chunk"] = (du + ds) / wall / r["chunks_per_s"] * 1e6
    return r


def load(a, t, bod, **kw):
    """one measurement; repeated (at most a.retries times) while something else disturbs the machine"""
    for k in range(a.retries + 1):
        r = load_once(a, t, bod, kw)
        a.best_spin = min(a.best_spin, r["spin_ms"])
        r["disturbed"] = r["foreign_pct"] > 6 or r["steal_pct"] > 4 or r["spin_ms"] > 1.15 * a.best_spin
        r["tries"] = k + 1
        if not r["disturbed"]:
            break
    return r


def phase(a, name, t):
    d = a.seconds
    if name == "sat":
        return load(a, t, body(t.model, "b=600"), c=64, d=d, w=1)
    if name == "one":
        return load(a, t, body(t.model, "b=600"), c=1, d=d, w=0.5)
    if name == "rate":
        return load(a, t, body(t.model, "b=600"), c=32, r=a.rate, d=max(d, 5), w=0.5)
    if name == "big":
        return load(a, t, body(t.model, "b=600", 100000), c=8, d=d, w=0.5)
    if name == "ttft":
        return load(a, t, body(t.model, "n=20,d=5", stream=True), c=1, d=d, w=0.5, s=True)
    if name == "fan":
        return load(a, t, body(t.model, f"n=100,d={a.gap}", stream=True), c=a.streams, d=max(d, 6), w=3, s=True, R=2)
    if name == "fan50":
        return load(a, t, body(t.model, f"n=100,d={a.gap}", stream=True), c=50, d=max(d, 5), w=2, s=True, R=1)
    if name == "chunks":
        return load(a, t, body(t.model, "n=200,d=0", stream=True), c=32, d=d, w=1, s=True)
    raise SystemExit("unknown phase " + name)


def ready(t, limit=60):
    """seconds until the target answers 200; raises on timeout"""
    t0 = time.monotonic()
    req = urllib.request.Request(
        f"{t.url}/chat/completions",
        data=body(t.model, "b=600"),
        headers={"Content-Type": "application/json", **dict(h.split(": ", 1) for h in t.headers)},
    )
    last = None
    while time.monotonic() - t0 < limit:
        try:
            with urllib.request.urlopen(req, timeout=5) as r:
                r.read()
                return time.monotonic() - t0
        except Exception as e:
            last = e
            time.sleep(0.05)
    raise SystemExit(f"{t.name}: no 200 within {limit}s: {last}")


def must_be_free(port):
    """refuse to start a server where something else already listens: we would measure, and load, a stranger"""
    import socket

    with socket.socket() as k:
        k.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            k.bind(("127.0.0.1", port))
        except OSError:
            raise SystemExit(f"port {port} is already in use; choose another (--mock-port, --nginx-port)") from None


def start_nginx(a):
    must_be_free(a.nginx_port)
    d = os.path.join(a.tmp, "nginx")
    os.makedirs(d, exist_ok=True)
    tmp = "".join(f"{k}_temp_path {d}/{k};" for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(d + "/nginx.conf", "w") as f:
        f.write(f"""worker_processes 1; daemon off; pid {d}/pid; error_log {d}/err.log warn;
events {{ worker_connections 8192; }}
http {{ access_log off; {tmp} keepalive_requests 100000000; client_max_body_size 50m; client_body_buffer_size 4m;
  upstream up {{ server 127.0.0.1:{a.mock_port}; keepalive 1024; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{a.nginx_port} backlog=4096; location / {{ proxy_pass http://up; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_buffering off; }} }} }}""")
    return subprocess.Popen(["taskset", "-c", str(a.gateway_cpu), "nginx", "-c", d + "/nginx.conf", "-p", d])


def med(xs):
    xs = [x for x in xs if x is not None]
    return statistics.median(xs) if xs else None


def get(r, path):
    for k in path.split("."):
        r = r.get(k) if isinstance(r, dict) else None
    return r


# (phase, column, path in the result, subtract direct?, decimals)
COLUMNS = [
    ("sat", "req/s @64", "rps", False, 0),
    ("sat", "CPU s/1000", "cpu_s_per_1000", False, 3),
    ("sat", "RSS MiB", "rss_mib", False, 0),
    ("one", "+p50 us @1", "latency.p50", True, 0),
    ("one", "+p99 us @1", "latency.p99", True, 0),
    ("rate", "+p50 us @rate", "latency.p50", True, 0),
    ("rate", "+p99 us @rate", "latency.p99", True, 0),
    ("big", "req/s 100KB", "rps", False, 0),
    ("ttft", "+TTFT p50 us", "ttft.p50", True, 0),
    ("ttft", "+TTFT p99 us", "ttft.p99", True, 0),
    ("ttft", "+chunk p50 us", "chunk_latency.p50", True, 0),
    ("fan50", "fan50 delay p99 us", "chunk_latency.p99", False, 0),
    ("fan50", "fan50 CPU %", "cpu_pct", False, 0),
    ("fan", "fan chunks/s", "chunks_per_s", False, 0),
    ("fan", "fan delay p99 us", "chunk_latency.p99", False, 0),
    ("fan", "fan gap p99 us", "gap.p99", False, 0),
    ("fan", "fan CPU %", "cpu_pct", False, 0),
    ("fan", "us CPU/chunk", "cpu_us_per_chunk", False, 1),
    ("chunks", "chunks/s", "chunks_per_s", False, 0),
]


def table(names, res, phases):
    rows = []
    for ph, col, path, sub, dec in COLUMNS:
        if ph not in phases:
            continue
        row = [col]
        for n in names:
            vals = [get(r, path) for r in res[n].get(ph, [])]
            if sub and "direct" in res and n != "direct":
                base = [get(r, path) for r in res["direct"].get(ph, [])]
                vals = [v - b if v is not None and b is not None else None for v, b in zip(vals, base, strict=False)]
            m = med(vals)
            vs = [v for v in vals if v is not None]
            spread = f" ({min(vs):.{dec}f}-{max(vs):.{dec}f})" if len(vs) > 1 else ""
            row.append("-" if m is None else f"{m:.{dec}f}{spread}")
        errs = sum(r.get("errors", 0) for n in names for r in res[n].get(ph, []))
        row.append(str(errs) if errs else "")
        rows.append(row)
    head = ["metric", *names, "errors"]
    w = [max(len(r[i]) for r in [*rows, head]) for i in range(len(head))]
    for r in [head, ["-" * x for x in w], *rows]:
        print("| " + " | ".join(c.ljust(x) for c, x in zip(r, w, strict=False)) + " |")
    print("median (min-max) over rounds; '+' = minus the direct call of the same round")


def ratios(names, res):
    for base in ("direct", "nginx", *[n for n in names if n not in ("direct", "nginx")]):
        b = med([r.get("rps") for r in res.get(base, {}).get("sat", [])])
        if b:
            print(
                f"req/s as a ratio to {base}: "
                + ", ".join(
                    f"{n} {med([r['rps'] for r in res[n]['sat']]) / b:.3f}"
                    for n in names
                    if n != base and res[n].get("sat")
                )
            )


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--target", action="append", default=[], help="NAME,url=,model=,key=,pid=,header=")
    p.add_argument("--nginx", action="store_true", help="also run nginx as a plain reverse proxy")
    p.add_argument("--no-direct", action="store_true")
    p.add_argument("--only", help="comma list of phases", default=",".join(PHASES))
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--seconds", type=float, default=4)
    p.add_argument("--rate", type=float, default=50)
    p.add_argument("--streams", type=int, default=500)
    p.add_argument("--gap", type=int, default=20, help="ms between chunks in the fan phase")
    p.add_argument("--mock-port", type=int, default=9100)
    p.add_argument("--nginx-port", type=int, default=9200)
    p.add_argument("--load-cpu", default="0")
    p.add_argument("--gateway-cpu", default="1", help="core for the nginx this script starts")
    p.add_argument("--no-mock", action="store_true", help="the mock is already running")
    p.add_argument("--retries", type=int, default=2, help="repeat a measurement taken while the machine was disturbed")
    p.add_argument("--json")
    p.add_argument("--quiet", action="store_true")
    a = p.parse_args()
    a.mine, a.best_spin = set(), min(spin(a.gateway_cpu) for _ in range(5))
    a.exe = build(os.path.join(HERE, "bin"))
    phases, procs = a.only.split(","), []
    with tempfile.TemporaryDirectory() as a.tmp:
        try:
            direct = Target(f"direct,url=http://127.0.0.1:{a.mock_port}/v1")
            if not a.no_mock:
                must_be_free(a.mock_port)
                procs.append(subprocess.Popen(["taskset", "-c", a.load_cpu, a.exe["mock"], str(a.mock_port)]))
            ready(direct, 5)
            a.mine |= {q.pid for q in procs}
            if any(q.poll() is not None for q in procs):
                raise SystemExit("the mock did not stay up")
            ts = [] if a.no_direct else [direct]
            if a.nginx:
                procs.append(start_nginx(a))
                ts.append(Target(f"nginx,url=http://127.0.0.1:{a.nginx_port}/v1,pid={procs[-1].pid}"))
            ts += [Target(s) for s in a.target]
            res = {t.name: {} for t in ts}
            for t in ts:
                ready(t)
            for i in range(a.rounds):
                for ph in phases:
                    for t in ts:
                        if t.pid and not os.path.exists(f"/proc/{t.pid}"):
                            raise SystemExit(f"{t.name}: process {t.pid} is gone")
                        r = phase(a, ph, t)
                        res[t.name].setdefault(ph, []).append(r)
                        if not a.quiet:
                            print(
                                f"round {i + 1} {ph:6s} {t.name:12s} ok={r['ok']} err={r['errors']} rps={r['rps']:.0f} "
                                f"p50={r['latency']['p50']:.0f}us "
                                f"{'DISTURBED ' if r['disturbed'] else ''}{r.get('stderr', '')}",
                                file=sys.stderr,
                                flush=True,
                            )
        finally:
            for q in procs:
                q.send_signal(signal.SIGTERM)
            for q in procs:
                q.wait(10)
    table([t.name for t in ts], res, phases)
    ratios([t.name for t in ts], res)
    if a.json:
        with open(a.json, "w") as f:
            json.dump(res, f, indent=1)


if __name__ == "__main__":
    main()
