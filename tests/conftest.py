"""Set-up that has to come before Numba is imported."""

import hashlib
import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _cache_folder() -> Path:
    """Key compiled code by all sources: Numba notices an edited file, but not an edited callee in another one."""
    content = hashlib.sha256()
    for source in sorted((ROOT / "neuroctl").rglob("*.py")):
        content.update(source.read_bytes())
    for flag in ("NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK"):
        content.update(f"{flag}={os.environ.get(flag)}".encode())
    return Path(tempfile.gettempdir()) / f"neuroctl-test-cache-{os.getuid()}" / content.hexdigest()[:16]


os.environ["NUMBA_CACHE_DIR"] = str(_cache_folder())


def pytest_configure(config):
    """Without the JIT, NaN and Inf meet NumPy's scalars, which warn where compiled code is silent."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        for text in ("invalid value", "overflow encountered", "divide by zero"):
            config.addinivalue_line("filterwarnings", f"ignore:{text}:RuntimeWarning")
