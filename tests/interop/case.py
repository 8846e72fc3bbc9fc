"""What the interop tests share: a folder per test, random numbers from one printed seed, exact comparison."""

import argparse
import secrets
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

from models import first_difference


class Case(unittest.TestCase):
    """A test with a folder of its own and random numbers of its own."""

    seed = 0

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="wdelta-interop-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.rng = np.random.default_rng([self.seed, *self.id().encode()])

    def path(self, name):
        return self.folder / name

    def assertSame(self, a, b, message):
        """Two models are equal bit for bit."""
        difference = first_difference(a, b)
        self.assertIsNone(difference, f"{message}: {difference} (seed {self.seed})")


def main(about):
    """Runs the tests of the script; `--seed N` repeats an earlier run."""
    arguments = argparse.ArgumentParser(description=about.split("\n")[0])
    arguments.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    known, rest = arguments.parse_known_args()
    Case.seed = known.seed
    print(f"seed {Case.seed}", file=sys.stderr)
    unittest.main(argv=[sys.argv[0], *rest])
