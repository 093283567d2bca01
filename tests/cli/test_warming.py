"""Compiled code in the cache before it is needed: ``neuroctl bench --warm``."""

import os
import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("how", ["the disk is full", "no folder"])
def test_warming_stops_where_nothing_can_be_stored(how, tmp_path):
    text = "import neuroctl.maths.codecache as c\n"
    if how == "no folder":
        text += "def none(*_): raise RuntimeError('cannot cache function: no locator available')\n"
        text += "c._Impl.__init__ = none\n"
    else:
        text += "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    text += "from neuroctl.cli.warming import warm\nwarm(['elman'])"
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
    )
    error = done.stderr.splitlines()[-1]
    assert error.startswith("neuroctl.errors.FileFormatError: the cache of compiled code: "), done.stderr
    assert error.endswith("; allowed: NUMBA_CACHE_DIR with a folder that this user may write to")
    assert "Warning" not in done.stderr


def test_the_command_says_what_it_compiled():
    assert "compiled for ctrnn, indrnn, elman, hopfield, jordan, gru, cfc in" in neuroctl("bench", "--warm").stdout
