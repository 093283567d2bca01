"""Set-up that has to come before Numba is imported, and the order of the files."""

import gc
import hashlib
import os
import re
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMPILED = ("maths", "cells", "backends")
"""Packages whose constants compiled code may use; elsewhere it stands in files that hold a decorator of it."""

LONGEST = (
    "backends/test_cached_code",
    "firmware/test_verify",
    "backends/test_cuda",
    "firmware/test_many",
    "conformance/test_forms",
    "test_siblings",
    "train/test_plant_gradients",
)
"""Files that begin a run, else a core would idle at its end; the first compiles what others then load."""


def _cache_folder() -> Path:
    """Key compiled code by the sources it is made of: Numba does not notice an edited callee in another file."""
    content = hashlib.sha256(version("numba").encode())
    for source in sorted((ROOT / "neuroctl").rglob("*.py")):
        text = source.read_text(encoding="utf-8")
        if source.relative_to(ROOT).parts[1] in COMPILED or re.search(r"\bn?jit\w*\(|@n?jit", text):
            content.update(text.encode())
    for flag in ("NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK", "NUMBA_OPT"):
        content.update(f"{flag}={os.environ.get(flag)}".encode())
    return Path(tempfile.gettempdir()) / f"neuroctl-test-cache-{os.getuid()}" / content.hexdigest()[:16]


os.environ["NUMBA_CACHE_DIR"] = str(_cache_folder())


def pytest_configure(config):
    """Without the JIT, NaN and Inf meet NumPy's scalars, which warn where compiled code is silent."""
    config.option.loadscopereorder = False  # pytest-xdist would begin with the files of the most tests
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        for text in ("invalid value", "overflow encountered", "divide by zero"):
            config.addinivalue_line("filterwarnings", f"ignore:{text}:RuntimeWarning")


def pytest_collection_modifyitems(items):
    rank = {ROOT / "tests" / f"{name}.py": k for k, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


def pytest_collection_finish():
    """Spare each garbage collection, of which a real-time loop makes one, all that was imported: 0.2 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _frozen(request):
    """And what earlier files have left behind: a collection took up to a second in files that run hundreds of loops."""
    if request.path.parent.name in ("realtime", "link"):
        gc.collect()
        gc.freeze()
