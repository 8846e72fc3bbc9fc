"""Files cross in both directions between wdelta's command line and the in-memory functions of deltatensors.

    python test_memory_api.py [--seed N]      the seed of a failure repeats it
"""

import re
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

import reference
from case import Case, main
from cli import Failed, decode, encode, wdelta
from models import edge_pair, pair

OPTIONS = [
    ("int4", {}),
    ("int4", {"outlier_fraction": 0.05}),
    ("int4", {"outlier_fraction": 0}),
    ("sparse", {}),
    ("sparse", {"sparsity": 0.5}),
    ("sparse", {"sparsity": 0.0}),
    ("quantized", {}),
]
DTYPES = [np.float32, np.float16]


class Interop(Case):
    def write(self, name, arrays):
        save_file(arrays, self.path(name))
        return self.path(name)

    def ours(self, base, deltas, *flags):
        """What our decode gives, as arrays."""
        output = self.path("decoded.safetensors")
        decode(base, deltas, output, *flags)
        return load_file(output)

    def assertBothDecodeAlike(self, delta, base_path, base, message):
        """Our float32 result is the reference's; our result in the base's dtype is that, rounded."""
        theirs = reference.load(delta, base)
        self.assertSame(self.ours(base_path, [delta], "--dtype", "float32"), theirs, message)
        stored = self.ours(base_path, [delta])
        for name, array in stored.items():
            self.assertEqual(array.dtype, base[name].dtype, f"{message}: {name}")
            with np.errstate(over="ignore"):
                rounded = theirs[name].astype(base[name].dtype)
            self.assertEqual(array.tobytes(), rounded.tobytes(), f"{message}: {name} (seed {self.seed})")

    def test_its_files_decode_alike(self):
        for dtype in DTYPES:
            base, finetuned = pair(self.rng, dtype)
            base_path = self.write("base.safetensors", base)
            for strategy, options in OPTIONS:
                reference.save(self.path("theirs.wdelta"), finetuned, base, strategy, options)
                self.assertBothDecodeAlike(self.path("theirs.wdelta"), base_path, base, f"{dtype.__name__} {strategy} {options}")

    def test_reference_mode_writes_its_bytes(self):
        compared = {"int4": 0, "sparse": 0, "quantized": 0}
        for dtype in DTYPES:
            base, finetuned = pair(self.rng, dtype)
            paths = self.write("base.safetensors", base), self.write("finetuned.safetensors", finetuned)
            for strategy, options in OPTIONS:
                message = f"{dtype.__name__} {strategy} {options} (seed {self.seed})"
                theirs, ours = self.path("theirs.wdelta"), self.path("ours.wdelta")
                reference.save(theirs, finetuned, base, strategy, options)
                encode(*paths, ours, strategy, options, (), "--reference")
                if reference.has_border_tie(strategy, options, finetuned, base):
                    self.assertEqual(reference.kept_magnitudes(ours), reference.kept_magnitudes(theirs), message)
                else:
                    self.assertEqual(ours.read_bytes(), theirs.read_bytes(), message)
                    compared[strategy] += 1
                self.assertBothDecodeAlike(ours, paths[0], base, message)
        print(f"files equal byte for byte: {compared}", file=sys.stderr)
        for strategy, count in compared.items():
            self.assertGreater(count, 0, f"no {strategy} file could be compared byte for byte (seed {self.seed})")

    def test_it_loads_what_safe_mode_writes(self):
        for dtype in DTYPES:
            base, finetuned = edge_pair(self.rng, dtype)
            paths = self.write("base.safetensors", base), self.write("finetuned.safetensors", finetuned)
            for strategy, options in OPTIONS:
                message = f"{dtype.__name__} {strategy} {options}"
                report = encode(*paths, self.path("ours.wdelta"), strategy, options)
                self.assertEqual(len(report["tensors"]), len(base), message)
                theirs = reference.load(self.path("ours.wdelta"), base)
                self.assertSame(self.ours(paths[0], [self.path("ours.wdelta")], "--dtype", "float32"), theirs, message)
                for name in ("unchanged", "int.unchanged", "int.changed", "bool.unchanged", "scalar", "one", "one.row"):
                    before, after = base[name].astype(np.float64), finetuned[name].astype(np.float64)
                    error = np.abs(theirs[name] - after)
                    self.assertTrue((error <= np.abs(after - before) * 2**-10 + 1e-7).all(), f"{message}: {name} is spoilt (seed {self.seed})")
                for name, array in theirs.items():
                    self.assertTrue(np.isfinite(array).all(), f"{message}: {name} is not finite (seed {self.seed})")

    def test_chains_of_two_in_any_mixture(self):
        writers = [("ours", "ours"), ("ours", "theirs"), ("theirs", "ours"), ("theirs", "theirs")]
        for dtype in DTYPES:
            base, first = pair(self.rng, dtype)
            second = {n: (a.astype(np.float64) + self.rng.standard_normal(a.shape) * 1e-4).astype(dtype) for n, a in first.items()}
            base_path = self.write("base.safetensors", base)
            first_path, second_path = self.write("first.safetensors", first), self.write("second.safetensors", second)
            for strategy in ("int4", "sparse", "quantized"):
                for writer in writers:
                    message = f"{dtype.__name__} {strategy} {writer}"
                    links = [self.path("1.wdelta"), self.path("2.wdelta")]
                    if writer[0] == "ours":
                        encode(base_path, first_path, links[0], strategy)
                    else:
                        reference.save(links[0], first, base, strategy, {})
                    if writer[1] == "ours":
                        encode(base_path, second_path, links[1], strategy, {}, links[:1])
                    else:
                        reference.save(links[1], second, reference.load(links[0], base), strategy, {})
                    theirs = reference.load_chain(links, base)
                    self.assertSame(self.ours(base_path, links, "--dtype", "float32"), theirs, message)
                    self.assertTrue(wdelta("lineage", "--base", base_path, *links)["ok"], message)

    def test_a_chain_of_two_in_reference_mode_has_its_bytes(self):
        base, first = pair(self.rng, np.float32)
        second = {n: a + (self.rng.standard_normal(a.shape) * 1e-4).astype(np.float32) for n, a in first.items()}
        base_path, first_path, second_path = (self.write(f"{n}.safetensors", a) for n, a in (("base", base), ("first", first), ("second", second)))
        encode(base_path, first_path, self.path("1.wdelta"), "quantized", {}, (), "--reference")
        encode(base_path, second_path, self.path("2.wdelta"), "quantized", {}, [self.path("1.wdelta")], "--reference")
        reference.save(self.path("theirs.wdelta"), second, reference.load(self.path("1.wdelta"), base), "quantized", {})
        self.assertEqual(self.path("2.wdelta").read_bytes(), self.path("theirs.wdelta").read_bytes(), f"seed {self.seed}")

    def refused(self, base, deltas, *codes):
        """Ours refuses with exit code 1, one of the codes (any but those of defects and files), and no output."""
        with self.assertRaises(Failed) as failure:
            decode(base, deltas, self.path("refused.safetensors"))
        self.assertEqual(failure.exception.code, 1, failure.exception.text)
        code = re.search(r"^wdelta: ([A-Z_]+): ", failure.exception.text, re.MULTILINE)
        self.assertIsNotNone(code, failure.exception.text)
        if codes:
            self.assertIn(code[1], codes, failure.exception.text)
        self.assertNotIn(code[1], ("INTERNAL", "IO", "USAGE"), failure.exception.text)
        self.assertEqual([p.name for p in self.folder.iterdir() if p.name.startswith(("refused", ".wdelta"))], [])

    def test_both_refuse_the_wrong_base(self):
        for dtype in DTYPES:
            base, finetuned = pair(self.rng, dtype)
            wrong = {name: array.copy() for name, array in base.items()}
            wrong["B"].view(np.uint8)[..., 0] ^= 1
            self.write("base.safetensors", base)
            wrong_path, finetuned_path = self.write("wrong.safetensors", wrong), self.write("finetuned.safetensors", finetuned)
            for strategy in ("int4", "sparse", "quantized"):
                for writer in ("ours", "theirs"):
                    delta = self.path(f"{writer}.wdelta")
                    if writer == "ours":
                        encode(self.path("base.safetensors"), finetuned_path, delta, strategy)
                    else:
                        reference.save(delta, finetuned, base, strategy, {})
                    with self.assertRaisesRegex(ValueError, "hash mismatch"):
                        reference.load(delta, wrong)
                    self.refused(wrong_path, [delta], "WRONG_BASE")

    def test_both_refuse_links_in_the_wrong_order(self):
        base, first = pair(self.rng, np.float32)
        second = {n: a + np.float32(1e-3) * self.rng.standard_normal(a.shape).astype(np.float32) for n, a in first.items()}
        base_path = self.write("base.safetensors", base)
        links = [self.path("1.wdelta"), self.path("2.wdelta")]
        encode(base_path, self.write("first.safetensors", first), links[0], "int4")
        encode(base_path, self.write("second.safetensors", second), links[1], "int4", {}, links[:1])
        with self.assertRaisesRegex(ValueError, "hash mismatch"):
            reference.load_chain(links[::-1], base)
        self.refused(base_path, links[::-1], "BROKEN_CHAIN", "WRONG_BASE")

    def test_both_refuse_damage(self):
        base, finetuned = pair(self.rng, np.float32)
        base_path, finetuned_path = self.write("base.safetensors", base), self.write("finetuned.safetensors", finetuned)
        encode(base_path, finetuned_path, self.path("good.wdelta"), "int4")
        good = bytearray(self.path("good.wdelta").read_bytes())
        for at in sorted(int(i) for i in self.rng.integers(15, len(good), 8)):
            bad = good.copy()
            bad[at] ^= 0x10
            self.path("bad.wdelta").write_bytes(bad)
            with self.assertRaises(ValueError):
                reference.load(self.path("bad.wdelta"), base)
            self.refused(base_path, [self.path("bad.wdelta")])


if __name__ == "__main__":
    main(__doc__)
