#!/usr/bin/env python3
"""Time and peak memory on a large pair: wdelta's command line against deltatensors 0.2.0 through its path functions.

    large_pair.py PAIR [--runs 3] [--workers 2] [--strategies int4,sparse,quantized] [--work FOLDER]

PAIR holds `base` and `finetuned`, one file each (tests/interop/make_large_pair.py makes one). Run it with a Python that has
deltatensors, torch and safetensors (pkg-scripts/interop-full.sh does). Both sides alternate; the table shows medians.

What is timed: both sides write their result and sync it to disk. On the reference's side the clock runs inside the process, after
its imports; decoding is its load followed by safetensors writing the arrays. Ours is the whole process, its start included, except
in the rows "inside", where the clock runs inside too. Peak memory is the largest resident set of the process, mapped files included.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLI = ROOT / "pkg" / "cli.js"

# What the reference does in a process of its own; prints seconds.
REFERENCE = """
import contextlib, io, os, sys, time
import deltatensors, torch
from safetensors.numpy import save_file
job, strategy, base, finetuned, delta, output = sys.argv[1:]
def sync(path):
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
start = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()):
    if job == "encode":
        deltatensors.save_delta_from_paths(delta, finetuned, base, strategy=strategy)
        sync(delta)
    elif job == "decode":
        save_file(deltatensors.load_delta_from_paths(delta, base), output)
        sync(output)
    else:
        deltatensors.inspect(delta)
print(time.perf_counter() - start)
"""

# Our inspect inside a process that has the package and its wasm loaded; prints seconds.
INSPECT = """
import { init, inspect } from %s
await init()
const start = performance.now()
await inspect(process.argv[1])
console.log((performance.now() - start) / 1000)
"""


def measure(command):
    """Runs a command: wall time in seconds, peak resident memory in bytes, standard output."""
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        child = subprocess.Popen([str(c) for c in command], stdout=out)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode()
    if child.returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, command[:4]))} ... (exit code {child.returncode})")
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), text


class Bench:
    def __init__(self, pair, work, workers):
        self.base, self.finetuned = pair / "base", pair / "finetuned"
        self.work, self.workers = work, workers

    def delta(self, side, strategy):
        return self.work / f"{side}-{strategy}.wdelta"

    def theirs(self, job, strategy):
        output = self.work / "theirs.safetensors"
        arguments = [job, strategy, self.base, self.finetuned, self.delta("theirs", strategy), output]
        _, peak, text = measure([sys.executable, "-c", REFERENCE, *arguments])
        output.unlink(missing_ok=True)
        return float(text), peak

    def ours(self, job, strategy):
        delta, output = self.delta("ours", strategy), self.work / "ours.safetensors"
        if job == "inspect inside":
            code = INSPECT % json.dumps((ROOT / "pkg" / "node.js").as_uri())
            _, peak, text = measure(["node", "--input-type=module", "-e", code, delta])
            return float(text), peak
        arguments = {
            "encode": ["--base", self.base, "--finetuned", self.finetuned, "-o", delta, "--strategy", strategy],
            "decode": ["--base", self.base, "-o", output, delta],
            "decode --dtype float32": ["--base", self.base, "-o", output, delta, "--dtype", "float32"],
            "inspect": [delta],
        }[job]
        options = ["--quiet", "--json", "--workers", str(self.workers)] + ([] if job == "inspect" else ["--force"])
        seconds, peak, _ = measure(["node", CLI, job.split()[0], *arguments, *options])
        output.unlink(missing_ok=True)
        return seconds, peak


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def duration(seconds):
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def table(rows):
    """Prints rows as a Markdown table."""
    print("| job | strategy | deltatensors | wdelta | faster | peak deltatensors | peak wdelta |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for job, strategy, theirs, ours in rows:
        slow, fast = statistics.median(t for t, _ in theirs), statistics.median(t for t, _ in ours)
        peaks = [f"{statistics.median(m for _, m in side) / 1e6:,.0f} MB" for side in (theirs, ours)]
        print(f"| {job} | {strategy} | {duration(slow)} | {duration(fast)} | {slow / fast:.1f} x | {peaks[0]} | {peaks[1]} |")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("pair", type=Path)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--strategies", default="int4,sparse,quantized")
    arguments.add_argument("--work", type=Path, help="folder for results, some GB (default: the system's)")
    given = arguments.parse_args()

    work = Path(tempfile.mkdtemp(prefix="wdelta-bench-", dir=given.work))
    bench = Bench(given.pair, work, given.workers)
    size = sum(p.stat().st_size for p in bench.base.glob("*.safetensors"))
    for path in [*bench.base.iterdir(), *bench.finetuned.iterdir()]:  # into the page cache, for both alike
        with open(path, "rb") as file:
            while file.read(1 << 24):
                pass
    rows = []
    try:
        for strategy in given.strategies.split(","):
            for job, ours in (("encode", ["encode"]), ("decode", ["decode", "decode --dtype float32"]), ("inspect", ["inspect", "inspect inside"])):
                theirs, mine = [], {kind: [] for kind in ours}
                for run in range(given.runs):
                    theirs.append(bench.theirs(job, strategy))
                    for kind in ours:
                        mine[kind].append(bench.ours(kind, strategy))
                    last = ", ".join(f"{kind} {mine[kind][-1][0]:.3f} s" for kind in ours)
                    print(f"{strategy} {job}, run {run + 1}: deltatensors {theirs[-1][0]:.3f} s; wdelta {last}", file=sys.stderr)
                rows += [(kind, strategy, theirs, mine[kind]) for kind in ours]
            sizes = [bench.delta(side, strategy).stat().st_size for side in ("theirs", "ours")]
            print(f"{strategy}: delta of deltatensors {sizes[0]:,} bytes, of wdelta {sizes[1]:,} bytes", file=sys.stderr)
            for side in ("theirs", "ours"):
                bench.delta(side, strategy).unlink()
    finally:
        shutil.rmtree(work)

    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"\nPair of {size:,} bytes per model; medians of {given.runs}, {given.workers} workers, {time.strftime('%Y-%m-%d')}. {processor()}, {cores()} cores, {platform.platform()};")
    print(f"Node {node}, Python {platform.python_version()}, numpy {version('numpy')}, torch {version('torch')}, safetensors {version('safetensors')}.\n")
    table(rows)


if __name__ == "__main__":
    main()
