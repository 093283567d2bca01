"""Set-up that has to come before Numba is imported."""

import hashlib
import os
import re
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPILED = ("maths", "cells", "backends")
"""Packages whose constants compiled code may use; elsewhere it stands in files that hold a decorator of it."""


def _cache_folder() -> Path:
    """Key compiled code by the sources it is made of: Numba does not notice an edited callee in another file."""
    content = hashlib.sha256()
    for source in sorted((ROOT / "neuroctl").rglob("*.py")):
        text = source.read_text(encoding="utf-8")
        if source.relative_to(ROOT).parts[1] in COMPILED or re.search(r"\bn?jit\w*\(|@n?jit", text):
            content.update(text.encode())
    for flag in ("NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK"):
        content.update(f"{flag}={os.environ.get(flag)}".encode())
    return Path(tempfile.gettempdir()) / f"neuroctl-test-cache-{os.getuid()}" / content.hexdigest()[:16]


os.environ["NUMBA_CACHE_DIR"] = str(_cache_folder())


def pytest_configure(config):
    """Without the JIT, NaN and Inf meet NumPy's scalars, which warn where compiled code is silent."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        for text in ("invalid value", "overflow encountered", "divide by zero"):
            config.addinivalue_line("filterwarnings", f"ignore:{text}:RuntimeWarning")
