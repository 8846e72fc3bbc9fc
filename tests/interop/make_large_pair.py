#!/usr/bin/env python3
"""Makes a synthetic bf16 base model and a fine-tune of it, with the tensors of a 0.5-billion-weight Qwen2 model.

    make_large_pair.py FOLDER [--scale S] [--shards N] [--seed N]

Writes FOLDER/base and FOLDER/finetuned, 988 MB each at full scale. `--scale` shrinks vocabulary and number of layers. Needs
numpy. The same arguments give the same files.

What matters for deltas is kept: weights are normal with a deviation per row; the update is normal too, with a size per row and
column and of a few units in the last place of bf16, so that after rounding a good part of the weights has not moved; the
norm weights do not move at all, and a third of the embedding rows hardly do.
"""

import argparse
import json
import struct
from pathlib import Path

import numpy as np

WIDTH, INNER, KEYS, LAYERS, VOCABULARY = 896, 4864, 128, 24, 151936
ROWS_AT_ONCE = 2048


def tensors(scale):
    """Names and shapes, in sorted order."""
    found = {"model.embed_tokens.weight": (max(64, int(VOCABULARY * scale) // 64 * 64), WIDTH), "model.norm.weight": (WIDTH,)}
    for layer in range(max(1, round(LAYERS * scale))):
        at = f"model.layers.{layer}."
        for part, rows in (("q", WIDTH), ("k", KEYS), ("v", KEYS)):
            found[f"{at}self_attn.{part}_proj.weight"] = (rows, WIDTH)
            found[f"{at}self_attn.{part}_proj.bias"] = (rows,)
        found[f"{at}self_attn.o_proj.weight"] = (WIDTH, WIDTH)
        found[f"{at}mlp.gate_proj.weight"] = found[f"{at}mlp.up_proj.weight"] = (INNER, WIDTH)
        found[f"{at}mlp.down_proj.weight"] = (WIDTH, INNER)
        found[f"{at}input_layernorm.weight"] = found[f"{at}post_attention_layernorm.weight"] = (WIDTH,)
    return sorted(found.items())


def bf16(values):
    """Bit patterns of float32 values rounded to nearest, ties to even."""
    bits = values.view(np.uint32)
    return ((bits + ((bits >> 16) & 1) + 0x7FFF) >> 16).astype("<u2")


def widened(bits):
    """The float32 values of bf16 bit patterns."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def pieces(name, shape, rng):
    """Base and fine-tune of one tensor as bit patterns, some rows at a time."""
    rows, columns = shape if len(shape) == 2 else (1, shape[0])
    norm, embedding = name.endswith("norm.weight"), "embed" in name
    deviation = (0.02 * np.exp(0.25 * rng.standard_normal(rows))).astype(np.float32)
    update = (1.7e-4 * np.exp(0.4 * rng.standard_normal(rows))).astype(np.float32)
    if embedding:
        update[rng.random(rows) < 0.35] /= 64
    by_column = np.exp(0.3 * rng.standard_normal(columns)).astype(np.float32)
    for start in range(0, rows, ROWS_AT_ONCE):
        part = slice(start, min(rows, start + ROWS_AT_ONCE))
        size = (part.stop - part.start, columns)
        base = bf16(rng.standard_normal(size, dtype=np.float32) * deviation[part, None] + np.float32(norm))
        if norm:
            yield base, base
        else:
            move = rng.standard_normal(size, dtype=np.float32) * update[part, None] * by_column
            yield base, bf16(widened(base) + move)


class Model:
    """One model folder, its tensors written in sorted order and cut into shards of about equal size."""

    def __init__(self, folder, items, shards):
        folder.mkdir(parents=True, exist_ok=True)
        total, before = sum(2 * int(np.prod(shape)) for _, shape in items), 0
        groups = [[] for _ in range(shards)]
        for name, shape in items:
            groups[min(shards - 1, before * shards // total)].append((name, shape))
            before += 2 * int(np.prod(shape))
        self.files, index = {}, {}
        for number, group in enumerate(groups, 1):
            file_name = "model.safetensors" if shards == 1 else f"model-{number:05}-of-{shards:05}.safetensors"
            header, end = {"__metadata__": {"format": "pt"}}, 0
            for name, shape in group:
                start, end = end, end + 2 * int(np.prod(shape))
                header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
                index[name] = file_name
            text = json.dumps(header, separators=(",", ":")).encode()
            text += b" " * (-len(text) % 8)
            file = open(folder / file_name, "wb")
            file.write(struct.pack("<Q", len(text)) + text)
            self.files |= {name: file for name, _ in group}
        if shards > 1:
            content = {"metadata": {"total_size": total}, "weight_map": index}
            (folder / "model.safetensors.index.json").write_text(json.dumps(content, indent=2) + "\n")

    def append(self, name, bits):
        self.files[name].write(bits.tobytes())

    def close(self):
        for file in set(self.files.values()):
            file.close()


def make(folder, scale=1.0, shards=1, seed=1):
    """Writes both models; gives the number of weights and of those that moved."""
    items = tensors(scale)
    models = Model(folder / "base", items, shards), Model(folder / "finetuned", items, shards)
    weights = moved = 0
    for number, (name, shape) in enumerate(items):
        for base, finetuned in pieces(name, shape, np.random.default_rng([seed, number])):
            models[0].append(name, base)
            models[1].append(name, finetuned)
            weights += base.size
            moved += int(np.count_nonzero(base != finetuned))
    for model in models:
        model.close()
    return weights, moved


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--scale", type=float, default=1.0)
    arguments.add_argument("--shards", type=int, default=1)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    weights, moved = make(given.folder, given.scale, given.shards, given.seed)
    print(f"{weights:,} weights, {100 * moved / weights:.1f} % of them moved")


if __name__ == "__main__":
    main()
