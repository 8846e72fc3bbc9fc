"""Random models for the interop tests: dictionaries of numpy arrays by name."""

import numpy as np

# Names that sort differently by code point, by UTF-16 unit and by locale, and names that need escapes in JSON.
NAMES = ["model.embed.weight", "model.layers.0.q", "model.layers.10.q", "model.layers.2.q", "B", "a", "\uff5e", "\U0001f600", 'quo"te\\', "__proto__"]

SHAPES = [(64, 48), (33, 17), (7,), (1000,), (3, 4, 5), (2, 3, 3, 3), (1, 129), (129, 1), (300, 41), (2, 9000)]


def pair(rng, dtype):
    """A base and a fine-tune of it that every strategy of the reference can store."""
    base, finetuned = {}, {}
    for name, shape in zip(NAMES, SHAPES):
        weights = (rng.standard_normal(shape) * 0.02).astype(dtype)
        update = rng.standard_normal(shape) * 1e-3
        update *= np.where(rng.random(shape) < 0.02, 8, 1)  # a few large ones
        base[name] = weights
        finetuned[name] = (weights.astype(np.float64) + update).astype(dtype)
    return base, finetuned


def edge_pair(rng, dtype):
    """The same, and tensors that the reference itself cannot store, or spoils, in one of its strategies."""
    base, finetuned = pair(rng, dtype)

    def add(name, before, after):
        base[name], finetuned[name] = before, after

    def weights(*shape):
        return (rng.standard_normal(shape) * 0.02).astype(dtype)

    add("scalar", np.array(0.5, dtype), np.array(0.25, dtype))
    add("one", weights(1), weights(1))
    add("one.row", weights(1, 1), weights(1, 1))
    for name, shape in (("empty", (0,)), ("empty.columns", (5, 0)), ("empty.rows", (0, 5))):
        add(name, np.zeros(shape, dtype), np.zeros(shape, dtype))
    same = weights(40, 30)
    add("unchanged", same, same.copy())
    add("constant", np.zeros((20, 20), dtype), np.full((20, 20), 0.125, dtype))
    add("tiny", np.zeros((16, 16), dtype), (rng.standard_normal((16, 16)) * 1e-7).astype(dtype))
    add("huge", np.zeros((16, 16), dtype), np.clip(rng.standard_normal((16, 16)) * 2e4, -6e4, 6e4).astype(dtype))
    counts = np.arange(10, dtype=np.int64)
    add("int.unchanged", counts, counts.copy())
    add("int.changed", counts, counts + np.arange(10) % 3)
    flags = rng.random(9) < 0.5
    add("bool.unchanged", flags, flags.copy())
    return base, finetuned


def float32_bits(arrays):
    """Arrays as float32 bit patterns by name, so that comparison is exact."""
    return {name: np.ascontiguousarray(a, dtype=np.float32).view(np.uint32).reshape(a.shape) for name, a in arrays.items()}


def first_difference(a, b):
    """A sentence on the first difference of two models, or None if they are equal bit for bit."""
    if set(a) != set(b):
        return f"names differ: {sorted(set(a) ^ set(b))}"
    a, b = float32_bits(a), float32_bits(b)
    for name in sorted(a):
        if a[name].shape != b[name].shape:
            return f"{name}: shape {a[name].shape} and {b[name].shape}"
        unequal = np.flatnonzero(a[name].ravel() != b[name].ravel())
        if unequal.size:
            i = int(unequal[0])
            return f"{name}: {unequal.size} of {a[name].size} differ, first at {i}: {a[name].ravel()[i]:08x} and {b[name].ravel()[i]:08x}"
    return None
