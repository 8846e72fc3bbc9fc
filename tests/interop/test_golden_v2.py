"""The golden files of version 2 decode alike with wdelta2.py and in Rust, whose results the manifest names.

    python test_golden_v2.py
"""

import hashlib
import json
import pathlib
import unittest

import blake3
import numpy as np

import reference
import wdelta2
from wdelta2 import Delta

FOLDER = pathlib.Path(__file__).parents[1] / "golden/v2"
CASES = json.loads((FOLDER / "manifest.json").read_text())["cases"]


def tensors_of(files):
    """(dtype, shape) and bytes of each tensor of a model by name, from its files by path."""
    index, tensors = files.get("model.safetensors.index.json"), {}
    for path in set(json.loads(index)["weight_map"].values()) if index else files:
        end = 8 + int.from_bytes(files[path][:8], "little")
        for name, t in json.loads(files[path][8:end]).items():
            if name != "__metadata__":
                start, stop = t["data_offsets"]
                tensors[name] = (t["dtype"], tuple(t["shape"])), files[path][end + start:end + stop]
    return tensors


def read(case):
    """The tensors that the last delta of a case is made against, and that delta."""
    folder = FOLDER / case["name"]
    tensors = tensors_of({path: (folder / "base" / path).read_bytes() for path in case["base"]})
    *before, last = (folder / name for name in case["deltas"])
    for link in before:
        tensors = after(link, tensors)
    return tensors, last.read_bytes()


def after(path, tensors):
    """The tensors after a link of a chain."""
    data = path.read_bytes()
    if data[7] == 2:
        return tensors_of(Delta(data).decode(tensors))
    types = {"F32": np.float32, "I32": np.int32}
    base = {name: np.frombuffer(data, types[dtype]).reshape(shape) for name, ((dtype, shape), data) in tensors.items()}
    return {name: (("F32", array.shape), array.tobytes()) for name, array in reference.load(path, base).items()}


def identity(tensors):
    """The identity of the base that an index refers to."""
    u64 = lambda n: n.to_bytes(8, "little")
    wanted = {t["base"][0].encode(): (*t["base"][1], t["base digest"]) for t in tensors if t["base"]}
    h = blake3.blake3()
    for name, (dtype, shape, digest) in sorted(wanted.items()):
        h.update(u64(len(name)) + name + u64(len(dtype)) + dtype.encode())
        h.update(b"".join(map(u64, (len(shape), *shape))) + digest)
    return h.digest()[:16]


class GoldenV2(unittest.TestCase):
    def test_every_file_decodes_to_what_the_manifest_says(self):
        for case in CASES:
            with self.subTest(case["name"]):
                base, data = read(case)
                delta = Delta(data)
                files = {path: hashlib.sha256(content).hexdigest() for path, content in delta.decode(base).items()}
                self.assertEqual(files, case["files"])
                self.assertEqual(identity(delta.index.tensors).hex(), case["identity"])

    def test_the_files_cover_what_there_is(self):
        sets, tensors, kinds, ranks, raw_factors, of_files = [], [], set(), set(), set(), set()
        for case in CASES:
            tensors_before, data = read(case)
            delta = Delta(data)
            sets += delta.sets
            tensors += delta.index.tensors
            of_files.add(len(delta.index.digests) // 16)
            kinds |= {part[0] for part, _ in delta.parts}
            with np.errstate(all="ignore"):
                params = [row[0][3] for *_, row in delta.rows(tensors_before) if row]
                ranks |= {(p.rank > 1, bool(p.dither)) for p in params}
                raw_factors |= {(p.rank > 32, p.raw_bits > 0) for p in params if p.rank}
        deltas = [t for t in tensors if t["op"] == wdelta2.DELTA]
        self.assertEqual({t["op"] for t in tensors}, {wdelta2.UNCHANGED, wdelta2.DELTA, wdelta2.STORED, wdelta2.TIED})
        self.assertEqual({t["kind"][0] for t in deltas}, set(wdelta2.BITS))
        self.assertEqual({t["kind"][0] for t in deltas if t["dither"]}, set(wdelta2.UNIT))
        self.assertEqual(kinds, {0, 1, 2})
        self.assertEqual(of_files, {0, 1, 3})
        self.assertEqual(raw_factors, {(False, False), (False, True), (True, True)})
        self.assertEqual({s.log for s in sets}, {9, 10, 11})
        self.assertEqual({s.q for s in sets}, {0, 1})
        self.assertEqual({s.form for s in sets}, {None, "BF16", "F16", "nibbles"})
        self.assertEqual(ranks, {(rank, dither) for rank in (False, True) for dither in (False, True)})
        self.assertEqual({len(case["deltas"]) for case in CASES}, {1, 2})
        self.assertGreater(max(len(case["base"]) for case in CASES), 1)

    def test_damage_and_another_base_are_found(self):
        for case in CASES:
            with self.subTest(case["name"]):
                base, data = read(case)
                for at in {12, len(data) // 2, len(data) - 60, len(data) - 1}:
                    damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
                    self.assertRaises(ValueError, lambda: Delta(damaged).decode(base))
                    self.assertRaises(ValueError, lambda: Delta(data[:at]).decode(base))
                self.assertRaises(ValueError, lambda: Delta(data).decode({}))

    def test_the_version_1_reference_says_that_it_does_not_know_the_version(self):
        for case in CASES:
            with self.subTest(case["name"]), self.assertRaisesRegex(ValueError, r"[Uu]nsupported .*version.*2"):
                reference.read(FOLDER / case["name"] / case["deltas"][-1])


if __name__ == "__main__":
    unittest.main()
