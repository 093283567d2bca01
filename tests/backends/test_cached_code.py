"""Code that was just compiled and code that was loaded from Numba's cache give the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sims
from neuroctl.spec import CELL_NAMES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cache(tmp_path):
    """Return a folder without kernels: the whole run's if it is new, so that other tests need not compile again."""
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    return tmp_path / "cache" if (folder / "neuroctl-kernels").exists() else folder


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT", "0") != "0", reason="the JIT is disabled: nothing is cached")
def test_a_process_that_compiles_and_one_that_loads_agree(cache):
    """A study's first process compiles; those that go on with it, and other workers, load."""
    printed = [
        subprocess.run(
            [sys.executable, "-m", "tests.backends.bits"], cwd=ROOT, capture_output=True, text=True, check=True,
            env=os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)},
        ).stdout.splitlines()
        for _ in range(2)
    ]  # fmt: skip
    plants = [name for name in sims.names() if sims.get(name).plant]
    assert len(printed[0]) == 2 * (len(CELL_NAMES) + len(plants))
    assert printed[1] == printed[0]
