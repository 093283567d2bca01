"""Damaged frames: nothing crashes, nothing undefined, next to nothing slips through, and the next frame is heard."""

import os
import re
import subprocess

import pytest

from tests.firmware.helpers import controller, needs_cc
from tests.link.board import exported, fuzzer

CELLS = ("ctrnn", "indrnn", "elman", "jordan", "hopfield", "gru", "cfc")
FRAMES = int(os.environ.get("NEUROCTL_FRAMES", "50000"))
"""``nox -s link`` damages a million."""


@needs_cc
@pytest.mark.parametrize("cell", CELLS)
def test_damaged_frames(cell, tmp_path):
    """Under AddressSanitizer and UndefinedBehaviorSanitizer; parameters are compared after every frame."""
    program = fuzzer(exported(controller(cell=cell), tmp_path))
    done = subprocess.run([program, str(FRAMES // len(CELLS)), "7"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(cell, done.stdout)
    frames, corrupted, undetected, unsynchronised, uploads = map(int, re.findall(r"\d+", done.stdout))
    assert frames == FRAMES // len(CELLS)
    assert corrupted > 0.95 * frames
    assert undetected <= corrupted / 2**16 + 1
    assert unsynchronised == 0
    assert uploads > frames / 1000
