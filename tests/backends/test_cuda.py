"""The CUDA backend without a GPU: its suite in Numba's simulator, and the PTX of its kernels; with one, the suite."""

import itertools
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.errors import BackendUnavailable
from neuroctl.spec import CELL_NAMES, INTEGRATORS

ROOT = Path(__file__).resolve().parents[2]
SUITE = [
    f"tests/{name}.py"
    for name in ("backends/cuda_suite", "train/cuda_suite", "conformance/test_forms", "conformance/test_dynamics")
]
installed = pytest.mark.skipif(find_spec("numba_cuda") is None, reason="numba-cuda is not installed: no CUDA kernels")


def gpu():
    if find_spec("numba_cuda") is None:
        return False
    from numba import cuda

    return cuda.is_available()


def run_suite(env):
    command = [sys.executable, *"-m pytest -q -n 0 -p no:cacheprovider".split(), *SUITE]
    return subprocess.run(command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True)


@installed
def test_in_the_simulator():
    done = run_suite({"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


@pytest.mark.gpu
@pytest.mark.skipif(not gpu(), reason="no GPU: the suite runs in the simulator only")
def test_on_the_gpu():
    done = run_suite({})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


@pytest.mark.skipif(gpu(), reason="there is a GPU")
def test_cuda_asked_for_and_absent():
    with pytest.raises(BackendUnavailable, match=r"^cuda: .*(pip install 'neuroctl\[cuda\]'|allowed: backend 'cpu')$"):
        get("cuda")


# --- PTX: types and code, for devices that need not be there ---------------------------------------------------------


def spec_of(cell, dtype="float32", **options):
    readout = "last" if cell == "hopfield" else None
    return nc.Spec(
        cell=cell, inputs=3, neurons=5, outputs=1, dt_s=0.02, dtype=dtype, readout=readout,
        output_limits=((-10.0, 10.0),), **options,
    )  # fmt: skip


VARIANTS = [
    *(spec_of(cell) for cell in CELL_NAMES),
    *(spec_of("ctrnn", integrator=name) for name in INTEGRATORS[1:]),
    *(spec_of("indrnn", activation=name, layers=2, residual=True) for name in ("tanh", "hard_tanh")),
    *(spec_of("elman", activation=name, output_activation="tanh") for name in ("logistic", "relu")),
    *(spec_of("hopfield", update=name) for name in ("synchronous", "continuous")),
    spec_of("cfc", backbone=(4, 3), activation="relu", mode="no_gate"),
    spec_of("gru", encoder=(4, 3), head=(3, 2), initial_state="learned"),
]


@pytest.fixture
def to_ptx(monkeypatch):
    """Give a function that compiles a kernel; numba-cuda asks the present device what it can do, so there is one."""
    if find_spec("numba_cuda") is None:
        pytest.skip("numba-cuda is not installed: no CUDA kernels")
    import numba.cuda.dispatcher
    from numba import cuda, types

    def compiled(kernel, arguments, cc):
        device = type("Device", (), {"compute_capability": cc})
        monkeypatch.setattr(numba.cuda.dispatcher, "get_current_device", lambda: device)
        ptx, _ = cuda.compile_ptx(kernel.py_func, tuple(arguments(types)), cc=cc, device=False)
        return ptx

    return compiled


def episode_arguments(real, ranks):
    def arguments(t):
        f = getattr(t, real)
        yield f[::1] if ranks == 1 else f[:, ::1]
        yield from (f[:, ::1], f[:, ::1], t.int64, f[::1], t.int64[::1], f[:, ::1], t.boolean[::1])

    return arguments


def sequence_arguments(t):
    f = t.float32
    return f[:, ::1], f[:, :, ::1], f[:, ::1], f[:, :, ::1], f[:, ::1]


def check(ptx, cc, dtype):
    assert f".target sm_{cc[0]}{cc[1]}" in ptx
    wide = [line for line in ptx.splitlines() if re.search(r"\.f64\b", line)]
    assert bool(wide) == (dtype == "float64"), wide[:5]


# All devices compile the same source: each variant for one of them.
@pytest.mark.parametrize(
    ("spec", "cc"), list(zip(VARIANTS, itertools.cycle([(8, 0), (9, 0)]), strict=False)),
    ids=[f"{s.cell}-{s.integrator}-{s.activation}-{s.update}" for s in VARIANTS],
)  # fmt: skip
def test_every_cell_compiles_for_episodes_and_for_recorded_inputs(to_ptx, spec, cc):
    from neuroctl.backends import cuda
    from neuroctl.backends.plant import load
    from sims.plants import double_pole

    kernel = cuda.kernel_of(spec, load(double_pole), "damping", False).run
    check(to_ptx(kernel, episode_arguments("float32", 2), cc), cc, "float32")
    kernel = cuda.open_kernel_of(spec, False).run
    check(to_ptx(kernel, sequence_arguments, cc), cc, "float32")


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_plant_compiles_with_shared_weights_too(to_ptx, dtype, shared):
    from neuroctl.backends import cuda
    from neuroctl.backends.plant import load
    from sims.plants import double_pole, quadrotor_sensed, walker

    leg = nc.Spec(cell="ctrnn", inputs=1, neurons=3, outputs=3, dt_s=0.1, readout="identity", dtype=dtype)
    craft = nc.Spec(cell="elman", inputs=9, neurons=3, outputs=4, dt_s=1 / 120, dtype=dtype)
    for spec, plant in ((spec_of("ctrnn", dtype), double_pole), (leg, walker), (craft, quadrotor_sensed)):
        kernel = cuda.kernel_of(spec, load(plant), "fitness", shared).run
        check(to_ptx(kernel, episode_arguments(dtype, 1 if shared else 2), (9, 0)), (9, 0), dtype)


def integer_arguments(t):
    f = t.float32
    columns = (t.int32, t.int64, t.int32, t.int32, t.int32, t.float64)
    yield from (column[:, ::1] for column in columns)
    yield from (f[:, ::1], t.int64, f[::1], t.int64[::1], f[:, ::1])


@pytest.mark.parametrize(
    "spec",
    [s for s in VARIANTS if s.integrator in ("euler", "etd1") and s.update != "continuous"],
    ids=lambda s: f"{s.cell}-{s.integrator}-{s.activation}-{s.update}",
)
def test_integer_forms_compile_too(to_ptx, spec):
    from neuroctl.backends import cuda_fixed
    from neuroctl.backends.plant import load
    from sims.plants import double_pole

    ptx = to_ptx(cuda_fixed.integer_kernel_of(spec, load(double_pole), "damping").run, integer_arguments, (9, 0))
    assert ".target sm_90" in ptx
    assert "mul.wide.s32" in ptx or "mul.lo.s64" in ptx  # integer products
    assert "ex2.approx" not in ptx  # no exponential: an activation is a table of cubics


def gradient_arguments(t):
    rows, steps = t.float32[:, ::1], t.float32[:, :, ::1]
    yield from (t.boolean, rows, rows, steps, steps, steps, t.int64, t.int64, t.int64)
    yield from (steps, steps, rows, t.float64[::1], steps, *[rows] * 6)


# Numba types the code of all integrators and activations for each: they are numbers to it.
@pytest.mark.parametrize(
    "spec",
    [
        spec_of("ctrnn", integrator="rk4"), spec_of("indrnn", layers=2, residual=True), spec_of("elman"),
        spec_of("jordan", context_decay=0.5), spec_of("gru"),
        spec_of("cfc", backbone=(4,)),
    ],
    ids=lambda s: s.cell,
)  # fmt: skip
def test_gradients_compile_too(to_ptx, spec):
    from neuroctl.train.cuda import cuda_kernels
    from neuroctl.train.losses import PROVIDED

    kernels = cuda_kernels(spec, PROVIDED)
    check(to_ptx(kernels.through_time, gradient_arguments, (9, 0)), (9, 0), "float32")
    check(to_ptx(kernels.add_lanes, lambda t: [t.float32[:, ::1]] * 2, (9, 0)), (9, 0), "float32")


@pytest.mark.parametrize("real", ["float32", "float64"])
def test_losses_compile_too(to_ptx, real):
    from neuroctl.train.losses import add_loss

    def arguments(t):
        f = getattr(t, real)
        return t.int64, f[:, :, :], f[:, :, :], f[:, :], f[:, :, :], t.float64[::1]

    assert "add.f64" in to_ptx(add_loss, arguments, (9, 0)).replace("add.rn", "add")  # losses are added in float64


def test_a_small_network_lives_in_registers(to_ptx):
    """With sizes as constants the loops unroll, and nothing of the state is left in local memory."""
    from neuroctl.backends import cuda
    from neuroctl.backends.plant import load
    from sims.plants import walker

    leg = nc.Spec(cell="ctrnn", inputs=1, neurons=3, outputs=3, dt_s=0.1, readout="identity")
    ptx = to_ptx(cuda.kernel_of(leg, load(walker), "fitness", False).run, episode_arguments("float32", 2), (9, 0))
    assert ".local" not in ptx
    assert np.count_nonzero([line.lstrip().startswith("call") for line in ptx.splitlines()]) == 0
