"""Files cross in both directions between wdelta's command line and the path functions of deltatensors: folders, shards, bf16,
chains made from paths. Needs torch (interop-full.sh installs it).

    python test_path_api.py [--seed N]      the seed of a failure repeats it
"""

import json
import shutil
import sys

import deltatensors
import numpy as np
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch

import reference
from case import Case, main
from cli import Failed, decode, encode
from models import pair

STRATEGIES = ["int4", "sparse", "quantized"]
DTYPES = [torch.bfloat16, torch.float16, torch.float32]
# Number of shards of base and fine-tune, and whether names are dealt out in turn instead of cut into runs.
LAYOUTS = {
    "one file each": (1, 1, False),
    "base in two": (2, 1, False),
    "base in three": (3, 1, False),
    "fine-tune in two": (1, 2, False),
    "both in two": (2, 2, False),
    "base interleaved": (2, 1, True),
    "both interleaved alike": (2, 2, True),
    "base in two, fine-tune in three interleaved": (2, 3, True),
}


def as_torch(arrays, dtype):
    return {name: torch.from_numpy(np.ascontiguousarray(a)).to(dtype) for name, a in arrays.items()}


def as_float32(tensors):
    return {name: t.to(torch.float32).numpy() for name, t in tensors.items()}


class PathInterop(Case):
    def models(self, dtype, steps=1):
        """A base and fine-tunes of it, each made from the one before, as torch tensors."""
        base, first = pair(self.rng, np.float32)
        found = [as_torch(base, dtype), as_torch(first, dtype)]
        while len(found) < steps + 1:
            last = as_float32(found[-1])
            found.append(as_torch({n: a + (self.rng.standard_normal(a.shape) * 1e-3).astype(np.float32) for n, a in last.items()}, dtype))
        return found

    def write(self, name, tensors, shards=1, interleaved=False):
        """A model folder, with an index if it has several files."""
        folder = self.path(name)
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        names = sorted(tensors)
        index = {}
        for s in range(shards):
            group = names[s::shards] if interleaved else names[s * len(names) // shards : (s + 1) * len(names) // shards]
            file_name = "model.safetensors" if shards == 1 else f"model-{s + 1:05}-of-{shards:05}.safetensors"
            save_torch({n: tensors[n] for n in group}, folder / file_name, metadata={"format": "pt"})
            index |= {n: file_name for n in group}
        if shards > 1:
            (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
        return folder

    def theirs(self, delta, base, verify=True):
        return reference.quiet(deltatensors.load_delta_from_paths, delta, base, verify=verify)

    def their_chain(self, deltas, base):
        return reference.quiet(deltatensors.load_delta_chain, [str(d) for d in deltas], str(base), verify=True)

    def ours(self, base, deltas):
        """What our decode gives as float32: one file, or a folder sharded as the base is."""
        sharded = len(list(base.glob("*.safetensors"))) > 1
        output = self.path("decoded" if sharded else "decoded.safetensors")
        shutil.rmtree(output, ignore_errors=True)  # shards of another layout would be taken for ours
        decode(base, deltas, output, "--dtype", "float32")
        files = output.glob("*.safetensors") if sharded else [output]
        return {name: array for file in files for name, array in load_file(file).items()}

    def each(self):
        for dtype in DTYPES:
            for layout, (base_shards, finetuned_shards, interleaved) in LAYOUTS.items():
                base, finetuned = self.models(dtype)
                folders = (
                    self.write("base", base, base_shards, interleaved),
                    self.write("finetuned", finetuned, finetuned_shards, interleaved),
                )
                for strategy in STRATEGIES:
                    yield f"{dtype} {layout} {strategy}", folders, (base, finetuned), strategy

    def test_its_path_files_decode_alike(self):
        refused = 0
        for message, (base, finetuned), _, strategy in self.each():
            delta = self.path("theirs.wdelta")
            reference.quiet(deltatensors.save_delta_from_paths, delta, finetuned, base, strategy=strategy)
            try:
                theirs = self.theirs(delta, base)
            except ValueError:  # it refuses some of its own files; the content is right all the same
                refused += 1
                theirs = self.theirs(delta, base, verify=False)
            self.assertSame(self.ours(base, [delta]), theirs, message)
        print(f"own files that the reference refused and we decode: {refused}", file=sys.stderr)

    def test_it_loads_what_safe_mode_writes(self):
        for message, (base, finetuned), _, strategy in self.each():
            delta = self.path("ours.wdelta")
            encode(base, finetuned, delta, strategy)
            self.assertSame(self.ours(base, [delta]), self.theirs(delta, base), message)

    def test_reference_mode_writes_its_bytes(self):
        compared = dict.fromkeys(STRATEGIES, 0)
        for message, folders, models, strategy in self.each():
            ours, theirs = self.path("ours.wdelta"), self.path("theirs.wdelta")
            reference.quiet(deltatensors.save_delta_from_paths, theirs, folders[1], folders[0], strategy=strategy)
            encode(*folders, ours, strategy, {}, (), "--reference", "--hash-order", "paths")
            if reference.has_border_tie(strategy, {}, as_float32(models[1]), as_float32(models[0])):
                self.assertEqual(reference.kept_magnitudes(ours), reference.kept_magnitudes(theirs), message)
            else:
                self.assertEqual(ours.read_bytes(), theirs.read_bytes(), f"{message} (seed {self.seed})")
                compared[strategy] += 1
        print(f"files equal byte for byte: {compared}", file=sys.stderr)
        for strategy, count in compared.items():
            self.assertGreater(count, 0, f"no {strategy} file could be compared byte for byte (seed {self.seed})")

    def test_the_result_keeps_dtypes_and_shards(self):
        for dtype in DTYPES:
            base, finetuned = self.models(dtype)
            for shards in (1, 3):
                base_path, finetuned_path = self.write("base", base, shards), self.write("finetuned", finetuned)
                for strategy in STRATEGIES:
                    message = f"{dtype} {shards} {strategy}"
                    delta, output = self.path("ours.wdelta"), self.path("rebuilt")
                    encode(base_path, finetuned_path, delta, strategy)
                    decode(base_path, [delta], f"{output}/")
                    rounded = as_torch(self.theirs(delta, base_path), dtype)
                    files = sorted(p.name for p in base_path.iterdir())
                    self.assertEqual(sorted(p.name for p in output.iterdir()), files, message)
                    for file in files:
                        if file.endswith(".safetensors"):
                            got, like = load_torch(output / file), load_torch(base_path / file)
                            self.assertEqual(sorted(got), sorted(like), message)
                            for name, tensor in got.items():
                                self.assertEqual(tensor.dtype, dtype, message)
                                self.assertTrue(torch.equal(tensor.view(torch.uint8), rounded[name].view(torch.uint8)), f"{message}: {name} (seed {self.seed})")
                    shutil.rmtree(output)

    def test_chains_of_two_from_paths(self):
        for dtype in DTYPES:
            base, first, second = self.models(dtype, steps=2)
            for shards in (1, 2):
                base_path = self.write("base", base, shards)
                first_path, second_path = self.write("first", first), self.write("second", second)
                for strategy in STRATEGIES:
                    for writers in (("ours", "ours"), ("ours", "theirs"), ("theirs", "ours"), ("theirs", "theirs")):
                        message = f"{dtype} {shards} {strategy} {writers}"
                        links = [self.path("1.wdelta"), self.path("2.wdelta")]
                        if writers[0] == "ours":
                            encode(base_path, first_path, links[0], strategy)
                        else:
                            reference.quiet(deltatensors.save_delta_from_paths, links[0], first_path, base_path, strategy=strategy)
                        if writers[1] == "ours":
                            encode(base_path, second_path, links[1], strategy, {}, links[:1])
                        else:
                            save = deltatensors.save_delta_chain_from_paths
                            reference.quiet(save, links[1], second_path, links[0], base_path, strategy=strategy)
                        self.assertSame(self.ours(base_path, links), self.their_chain(links, base_path), message)

    def test_a_re_sharded_base_is_the_same_base(self):
        for dtype in DTYPES:
            base, finetuned = self.models(dtype)
            one, two = self.write("one", base), self.write("two", base, 2, True)
            finetuned_path = self.write("finetuned", finetuned)
            for strategy in STRATEGIES:
                for made, used in ((one, two), (two, one)):
                    delta = self.path("theirs.wdelta")
                    reference.quiet(deltatensors.save_delta_from_paths, delta, finetuned_path, made, strategy=strategy)
                    self.assertSame(self.ours(used, [delta]), self.theirs(delta, made), f"{dtype} {strategy}: {made.name} read with {used.name}")

    def test_both_refuse_the_wrong_base(self):
        base, finetuned = self.models(torch.bfloat16)
        other = {name: tensor.clone() for name, tensor in base.items()}
        other["B"].view(torch.uint8)[0, 0, 0] ^= 1
        paths = self.write("base", base, 2), self.write("finetuned", finetuned)
        wrong = self.write("wrong", other, 2)
        encode(*paths, self.path("ours.wdelta"), "int4")
        with self.assertRaisesRegex(ValueError, "hash mismatch"):
            self.theirs(self.path("ours.wdelta"), wrong)
        with self.assertRaises(Failed) as failure:
            decode(wrong, [self.path("ours.wdelta")], self.path("refused"))
        self.assertEqual(failure.exception.code, 1)
        self.assertIn("WRONG_BASE", failure.exception.text)
        self.assertFalse(self.path("refused").exists())


if __name__ == "__main__":
    main(__doc__)
