"""``sims`` and ``firmware_export``: one module under two names, whoever owns the short one."""

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.crossed import FULL, crossed

ROOT = Path(__file__).resolve().parent.parent
SHORT = ("sims", "firmware_export")
FITNESS = """
import numpy as np
import sims
from sims.arm import GAIN

def fitness(controller, seed):
    import sims as again
    assert again is sims and sims.OWNER == "user"
    controller.reset()
    return -GAIN * abs(float(controller.step(np.zeros(2, np.float32))[0]) - 0.3)

fitness.spec = {"inputs": 2, "outputs": 1, "dt_s": 0.02, "input_limits": [[-1, 1], [-1, 1]]}
"""
SEARCH = ("--generations", "2", "--population", "4", "--neurons", "2", "--json")


INSTALLED = ["source tree", "wheel"]
FLAGS = {"python -m": (), "console script": ("-P",)}


@pytest.fixture(scope="module", params=INSTALLED)
def installed(request, tmp_path_factory):
    """Return a folder from which neuroctl is imported."""
    if request.param == "source tree":
        return ROOT
    if find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed: pip install -e '.[dev]'")
    folder = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def robot(tmp_path):
    """Return a user's folder, with packages of his own under our short names."""
    for name in SHORT:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("OWNER = 'user'\n")
    (tmp_path / "sims" / "arm.py").write_text("GAIN = 2.0\n")
    (tmp_path / "robot.py").write_text(FITNESS)
    return tmp_path


def run(installed, folder, *command, flags=()):
    done = subprocess.run(
        [sys.executable, *flags, *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("first", ["sims", "neuroctl.sims"])
def test_one_module_under_two_names(installed, tmp_path, first):
    text = f"""
import {first}, pickle, sys
import neuroctl.sims.sensors, sims.plants.walker as walker, sims.sensors, neuroctl.firmware_export, firmware_export
from firmware_export.targets import TARGETS
assert neuroctl.__file__.startswith({str(installed)!r})
assert sims is neuroctl.sims and firmware_export is neuroctl.firmware_export
assert walker is sys.modules["neuroctl.sims.plants.walker"] and walker.__spec__.name == walker.__name__
assert TARGETS is neuroctl.firmware_export.targets.TARGETS
assert sims.sensors.Sensors is neuroctl.sims.sensors.Sensors
print(pickle.dumps(sims.EpisodeReturn("cartpole")).count(b"neuroctl.sims.episodes"))
"""
    assert run(installed, tmp_path, "-c", text).strip() == "1"


@pytest.mark.parametrize(("installed", "started"), crossed(INSTALLED, [*FLAGS]), indirect=["installed"])
def test_beside_a_users_own_packages(installed, robot, started):
    """The user's fitness function finds the user's ``sims``, also in workers, and our commands find ours."""
    flags = FLAGS[started]
    assert "cartpole" in run(installed, robot, "-m", "neuroctl", "tasks", flags=flags)
    evolve = ("-m", "neuroctl", "evolve")
    run(installed, robot, *evolve, "robot:fitness", *SEARCH, "--workers", "2", "--out", "own", flags=flags)
    run(installed, robot, *evolve, "cartpole", *SEARCH, "--workers", "2", "--out", "ours", flags=flags)
    run(installed, robot, "-m", "neuroctl", "export", "own/best.npz", "--out", "c", flags=flags)
    assert (robot / "c" / "ctl.h").is_file()


@pytest.mark.parametrize("installed", INSTALLED if FULL else ["wheel"], indirect=True)
def test_beside_a_users_own_packages_on_ray(installed, robot):
    pytest.importorskip("ray")
    command = ("-m", "neuroctl", "evolve", "robot:fitness", *SEARCH, "--cluster", "local", "--out", "own")
    assert json.loads(run(installed, robot, *command, flags=("-P",)))["generations"] == 2


def test_the_folder_of_a_users_file_comes_first(installed, robot):
    """Even where ours stands before it on the path."""
    text = "import neuroctl.sims as s, sys; s.problem('robot:fitness'); print(sys.modules['robot'].sims.OWNER)"
    assert run(f"{installed}{os.pathsep}{robot}", robot, "-c", text, flags=("-P",)).strip() == "user"


SOURCES = [path for name in ("neuroctl", *SHORT) for path in sorted((ROOT / name).rglob("*.py"))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_our_code_never_imports_the_short_names(path):
    """Inside the packages imports are relative; the command line asks for ``neuroctl.sims`` by name."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
        assert not [name for name in names if name.partition(".")[0] in SHORT], f"line {node.lineno}"
    asks = path.is_relative_to(ROOT / "neuroctl" / "cli") or path.name in {"demo.py", "sweep.py", "siblings.py"}
    if path.is_relative_to(ROOT / "neuroctl") and not asks:
        assert not re.search(r"(require|import_module)\(.neuroctl\.(sims|firmware_export)", text)


def test_a_module_does_not_take_its_functions_place():
    """``firmware_export.verify`` is a function, also after something was imported from its module."""
    code = "import firmware_export as f, firmware_export.exporting; from firmware_export.verifying import load"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(callable(f.verify), callable(f.export))"], capture_output=True, text=True
    )
    assert done.stdout.split() == ["True", "True"], done.stderr
