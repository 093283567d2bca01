"""The examples run as they stand, and stay short."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pybullet")

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SHORT = {"evolve_in_python": ["2"], "own_robot": ["2"], "watch": ["quadruped", "0.5"], "firmware": ["double-pole"],
         "identify_motor": ["5"], "classify_sequences": ["2"], "decode_spikes": ["2"],
         "detect_anomalies": ["1", "2"], "motor_faults": ["30", "current.csv"], "raptor": ["1"]}  # fmt: skip
TRAINING = {"identify_motor", "classify_sequences", "decode_spikes", "detect_anomalies", "raptor"}
"""They make their data and compare with a simple method, or connect a policy with a task: longer than the others."""


BRIDGES = {"bridge_udp", "bridge_zenoh"}
"""They serve until they are ended: tests/link/test_host_bridges.py runs them."""


def test_each_has_a_run():
    assert {path.stem for path in EXAMPLES} == set(SHORT) | BRIDGES


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.stem in SHORT], ids=lambda path: path.stem)
def test_an_example_runs(path, tmp_path):
    assert len([line for line in path.read_text().splitlines() if line.strip()]) < (63 if path.stem in TRAINING else 42)
    if path.stem == "identify_motor":
        pytest.importorskip("scipy", reason="scipy searches")
    if path.stem == "motor_faults":
        pytest.importorskip("scipy", reason="scipy filters")
    if path.stem == "detect_anomalies":
        pytest.importorskip("sklearn", reason="scikit-learn is compared with")
    if path.stem == "raptor":
        pytest.importorskip("foundation_policy", reason="the policy is in this package")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(path.parent)])}
    done = subprocess.run(
        [sys.executable, str(path), *SHORT[path.stem]], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_help_and_bad_arguments_end_without_a_traceback(path, tmp_path):
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(path.parent)])}
    words = path.read_text()
    needs = {"zenoh": "import zenoh", "sklearn": "from sklearn", "foundation_policy": "foundation_policy"}
    for module, line in needs.items():
        if line in words:
            pytest.importorskip(module, reason="the example needs it")
    for arguments, code in (["--help"], 0), (["x", "y", "z", "w"], 2):
        command = [sys.executable, str(path), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        assert "usage: " in done.stdout + done.stderr
