"""Our command line as a Python function."""

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLI = ROOT / "pkg" / "cli.js"


class Failed(Exception):
    """The command failed: `code` is its exit code, `text` all that it printed."""

    def __init__(self, args, code, text):
        super().__init__(f"wdelta {' '.join(args)}: exit code {code}\n{text}")
        self.code, self.text = code, text


def wdelta(*args):
    """Runs `wdelta ARGS --json --quiet` and gives its report."""
    args = [str(a) for a in args]
    done = subprocess.run(["node", str(CLI), *args, "--json", "--quiet"], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(args, done.returncode, done.stdout + done.stderr)
    return json.loads(done.stdout)


def encode(base, finetuned, output, strategy, options=None, parents=(), *flags):
    """Writes a delta; `options` as the reference names them."""
    more = [text for parent in parents for text in ("--parent", parent)]
    for name, value in (options or {}).items():
        more += ["--" + name.replace("_", "-"), repr(value)]
    return wdelta("encode", "--base", base, "--finetuned", finetuned, "-o", output, "--strategy", strategy, "--force", *more, *flags)


def decode(base, deltas, output, *flags):
    """Rebuilds a model."""
    return wdelta("decode", "--base", base, "-o", output, "--force", *deltas, *flags)
