"""Sessions for development; `.ci/run` calls the same commands."""

from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "venv"


@nox.session
def tests(session: nox.Session) -> None:
    """Run the whole test suite."""
    session.install("-e", ".[all,dev]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def full(session: nox.Session) -> None:
    """Run the whole test suite with every combination of parameters of which a run takes every value."""
    session.install("-e", ".[all,dev]")
    session.run("python", "-m", "pytest", *session.posargs, env={"NEUROCTL_FULL": "1"})


@nox.session
def modes(session: nox.Session) -> None:
    """Run with bounds checks what hands arrays to compiled code, and the core's tests once in plain Python."""
    session.install("-e", ".[all,dev]")
    session.run("python", "-m", "pytest", "@.ci/bounds.txt", env={"NUMBA_BOUNDSCHECK": "1", "NUMBA_OPT": "1"})
    session.run("python", "-m", "pytest", "tests/core", "tests/train/test_plain.py", env={"NUMBA_DISABLE_JIT": "1"})


@nox.session(python="3.11")
def minimums(session: nox.Session) -> None:
    """Run the core's tests with the lowest versions that pyproject.toml declares, and with bounds checks."""
    constraints = Path(session.create_tmp()) / "lowest.txt"
    constraints.write_text(session.run("python", ".ci/minimums.py", silent=True) or "")
    session.install("-c", str(constraints), "-e", ".[all,dev]")
    session.install("-c", str(constraints), "--dry-run", "-e", ".[all,dev,cuda,cluster]")
    session.run("neuroctl", "--help", silent=True)
    session.run("python", "-m", "pytest", "tests/core", env={"NUMBA_BOUNDSCHECK": "1", "NUMBA_OPT": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, spelling and the direction of imports."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell", "neuroctl", "sims", "firmware_export", "tests", "docs", "README.md", "CONTRIBUTING.md")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    session.install("-e", ".[all,dev]")
    session.run("mypy")


@nox.session
def conformance(session: nox.Session) -> None:
    """Check every form of every cell against the literature, and print form x cell x largest error."""
    session.install("-e", ".[all,dev,cuda]", "torch")
    session.run("python", "-m", "pytest", "tests/conformance", *session.posargs)
    session.run("python", "-m", "tests.conformance.table")


@nox.session
def gpu(session: nox.Session) -> None:
    """Run the suite that needs an NVIDIA GPU, and print its figures."""
    session.install("-e", ".[all,dev,cuda]")
    session.run("python", "-m", "pytest", "-m", "gpu", *session.posargs)
    session.run("python", "benchmarks/gpu.py")


@nox.session
def bench(session: nox.Session) -> None:
    """Print how fast steps, compiled loops, populations and evolution with them are, beside their peers."""
    session.install("-e", ".[all]", "torch", "onnx", "onnxruntime", "jax")
    for script in ("step", "compiled", "lanes", "walker", "double_pole", "cold_start"):
        session.run("python", f"benchmarks/{script}.py")


@nox.session
def evolution(session: nox.Session) -> None:
    """Print how evolution scales, what kills cost, and what fixed point costs."""
    session.install("-e", ".[all,cluster]")
    for script in ("scaling", "quantized", "faults", "closed_loop"):
        session.run("python", f"benchmarks/{script}.py")


@nox.session
def firmware(session: nox.Session) -> None:
    """Prove every cell's C for long on every target, then random controllers: ``nox -s firmware -- 5000``."""
    session.install("-e", ".[all,dev]")
    count = session.posargs[0] if session.posargs else "200"
    long = ("tests/firmware/test_verify.py", "-k", "for_long", "-rP", "-q")
    session.run("python", "-m", "pytest", *long, env={"NEUROCTL_STEPS": "100000"})
    session.run("python", "-m", "pytest", "tests/firmware/test_many.py", env={"NEUROCTL_SPECS": count})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz the board's link with libFuzzer for so many seconds: ``nox -s fuzz -- 300``; needs clang's libclang-rt."""
    session.install("-e", ".[all,dev]")
    seconds = session.posargs[0] if session.posargs else "300"
    session.run("python", "-m", "tests.link.fuzz", seconds)


@nox.session
def link_host(session: nox.Session) -> None:
    """Mutate a million frames on the host's side, break the link in every way, and print a frame's round trip."""
    session.install("-e", ".[all,dev]")
    session.run("python", "-m", "pytest", "tests/link", "-k", "host", "-rP", "-q", env={"NEUROCTL_FRAMES": "1000000"})
    session.run("python", "benchmarks/link.py")
