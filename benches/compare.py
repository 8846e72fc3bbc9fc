#!/usr/bin/env python3
"""Size and exactness of deltas: wdelta against XOR + zstd, ZipNN and deltatensors, in bits per weight of the fine-tune.

    compare.py [--quality 90,70,50] PAIR...

A PAIR is `BASE.safetensors:FINETUNE.safetensors`, models with the same tensors of one dtype of 16 or 32 bits. Run it with a
Python that has zipnn, torch and zstandard, after the package was built (pkg-scripts/compare.sh does both). Without a pair
it takes those of the repository's sample.

- `XOR, zstd`: both models' tensors, concatenated in the order of names, XORed, split into byte planes, each compressed.
- `ZipNN`: its delta mode on the same bytes; it is exact, and so checked here.
- int4, sparse, quantized: files of wdelta in reference mode, which has the bytes of deltatensors 0.2.0 (tests/interop).
- Files are counted whole, headers included; XOR and ZipNN have none here, to their advantage.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import zipnn
import zstandard
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "tests" / "data" / "stories260k-full"
WIDTHS = {"BF16": 2, "F16": 2, "F32": 4}


def tensors(path):
    """All tensors' bytes in the order of names, and the width of an element."""
    data = Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    dtypes = {entry["dtype"] for entry in header.values()}
    if len(dtypes) > 1 or not dtypes <= WIDTHS.keys():
        sys.exit(f"{path} has tensors of {', '.join(sorted(dtypes))}; one of {', '.join(WIDTHS)} is wanted")
    parts = [data[8 + length :][slice(*header[name]["data_offsets"])] for name in sorted(header)]
    return b"".join(parts), WIDTHS[dtypes.pop()]


def planes(data, width):
    return [np.frombuffer(data, np.uint8)[i::width].tobytes() for i in range(width)]


def wdelta(*arguments):
    command = ["node", str(ROOT / "pkg" / "cli.js"), *arguments, "--json", "--quiet"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def rows(base, fine, qualities):
    """(method, bytes, relative error of the delta or None for exact) for one pair."""
    (a, width), (b, other) = tensors(base), tensors(fine)
    if len(a) != len(b) or width != other:
        sys.exit(f"{base} and {fine} do not have the same tensors")
    xor = (np.frombuffer(a, np.uint8) ^ np.frombuffer(b, np.uint8)).tobytes()
    for level in (3, 19):
        size = sum(len(zstandard.ZstdCompressor(level=level).compress(plane)) for plane in planes(xor, width))
        yield f"XOR, byte planes, zstd -{level}", size, None
    dtype = "bfloat16" if width == 2 else "float32"
    coder = zipnn.ZipNN(bytearray_dtype=dtype, delta_compressed_type="byte")
    # It works on the buffers that it is given.
    packed = bytes(coder.compress(bytearray(b), delta_second_data=bytearray(a)))
    if bytes(coder.decompress(packed, delta_second_data=bytearray(a))) != b:
        sys.exit("ZipNN does not give the fine-tune back")
    yield "ZipNN, delta", len(packed), None
    with tempfile.TemporaryDirectory() as folder:
        pair = ["encode", "--base", base, "--finetuned", fine, "--force", "-o", f"{folder}/x.wdelta"]
        for strategy in ("int4", "sparse", "quantized"):
            report = wdelta(*pair, "--strategy", strategy, "--reference")
            yield f"deltatensors, {strategy}", report["bytes"], report["relativeError"]
        report = wdelta(*pair, "--strategy", "lossless")
        wdelta("decode", "--base", base, f"{folder}/x.wdelta", "-o", f"{folder}/x.safetensors")
        if Path(f"{folder}/x.safetensors").read_bytes() != Path(fine).read_bytes():
            sys.exit("wdelta does not give the fine-tune back")
        yield "wdelta, lossless", report["bytes"], None
        for quality in qualities:
            report = wdelta(*pair, "--strategy", "lossy", "--quality", quality)
            yield f"wdelta, lossy, quality {quality}", report["bytes"], report["relativeError"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quality", default="90,70,50")
    parser.add_argument("pairs", nargs="*", metavar="PAIR")
    options = parser.parse_args()
    sample = [f"{SAMPLE}/base.safetensors:{SAMPLE}/{name}.safetensors" for name in ("ft-step1", "ft-sft")]
    qualities = [q for q in options.quality.split(",") if q]
    for pair in options.pairs or sample:
        base, fine = pair.split(":")
        with safe_open(fine, "np") as file:
            weights = sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())
        whole = Path(fine).stat().st_size
        print(f"\n{'/'.join(Path(base).parts[-2:])} -> {Path(fine).name}, {weights:,} weights, {whole:,} bytes\n")
        print("| method | bytes | times smaller | bits/weight | error of the delta |")
        print("|---|---:|---:|---:|---:|")
        for method, size, error in rows(base, fine, qualities):
            shown = "exact" if error is None else f"{error:.3g}"
            print(f"| {method} | {size:,} | {whole / size:.2f} | {8 * size / weights:.3f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
