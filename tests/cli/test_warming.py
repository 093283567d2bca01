"""Compiled code in the cache before it is needed: ``neuroctl bench --warm``."""

import os
import subprocess
import sys

from tests.commands import neuroctl

USE = """
import numpy as np
import neuroctl as nc
from neuroctl.realtime import Loop

spec = nc.Spec(cell="elman", inputs=3, neurons=5, outputs=2, dt_s=0.001, input_limits=((-1, 1),) * 3)
for ctl in (nc.Controller(spec), nc.Controller(spec).quantize()):
    ctl.step(np.zeros(3, np.float32))
    ctl.rollout(np.zeros((7, 3)))
    Loop(ctl, read=lambda u: u.fill(0), write=lambda y: None, safe=lambda: None).run(ticks=3)
"""


def test_a_warm_cache_is_all_that_a_program_needs(tmp_path):
    """A program with a network of another size, in a process of its own, compiles nothing more."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def cached(text):
        subprocess.run([sys.executable, "-c", text], check=True, env=environment)
        return {path.name for path in tmp_path.rglob("*.nbc")}

    before = cached("from neuroctl.cli.warming import warm; warm(['elman'])")
    assert before
    assert cached(USE) == before


def test_the_command_says_what_it_compiled():
    assert "compiled for ctrnn, indrnn, elman, hopfield, jordan in" in neuroctl("bench", "--warm").stdout
