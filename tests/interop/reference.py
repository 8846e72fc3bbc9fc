"""The Python reference, quiet, and what its files may differ in from ours."""

import contextlib
import io

import deltatensors
import numpy as np
from deltatensors.format import read_wdelta


def quiet(call, *args, **kwargs):
    """Calls a function of the reference without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return call(*args, **kwargs)


def save(path, finetuned, base, strategy, options):
    """Writes a delta from arrays; gives the parent hash."""
    return quiet(deltatensors.save_delta, path, finetuned, base, strategy=strategy, **options)


def load(path, base):
    """The model as float32 arrays; the base is verified."""
    return quiet(deltatensors.load_delta, path, base, verify=True)


def load_chain(paths, base):
    """The model at the end of a chain; every link is verified."""
    return quiet(deltatensors.load_delta_chain, [str(p) for p in paths], base, verify=True)


def read(path):
    """Header fields and arrays of each tensor, as the reference reads them."""
    with open(path, "rb") as file:
        return read_wdelta(file)


def kept(strategy, options, n):
    """How many elements of `n` a strategy keeps apart."""
    if strategy == "sparse":
        return max(1, int(n * (1.0 - options.get("sparsity", 0.9))))
    return max(1, int(n * options.get("outlier_fraction", 0.01)))


def has_border_tie(strategy, options, finetuned, base):
    """True if, in some tensor, the choice of kept elements is not unique: there numpy's sort decides, and it differs by machine."""
    if strategy == "quantized":
        return False
    for name, after in finetuned.items():
        delta = np.abs(after.astype(np.float32) - base[name].astype(np.float32)).ravel()
        k = kept(strategy, options, delta.size)
        if k < delta.size:
            order = np.sort(delta)[::-1]
            if order[k - 1] == order[k]:
                return True
    return False


def kept_magnitudes(path):
    """Magnitudes of the elements kept apart, sorted, by tensor: fixed even where their choice is not."""
    _, _, tensors = read(path)
    fields = {"sparse": "values", "int4": "outlier_vals"}
    return {name: np.sort(np.abs(t[fields[t["strategy"]]].astype(np.float32))).tolist() for name, t in tensors.items()}
