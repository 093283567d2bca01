import array
import subprocess
import sys
import tracemalloc
import warnings

import numba
import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

import neuroctl as nc
from neuroctl import controller_inputs
from neuroctl.cells import cell_of

SPEC = nc.Spec(
    cell="ctrnn", inputs=2, neurons=8, outputs=1, dt_s=1 / 60,
    input_limits=((-2.4, 2.4), (-0.42, 0.42)), output_limits=((-10.0, 10.0),),
)  # fmt: skip


def inputs(steps=50, seed=0):
    return np.random.default_rng(seed).uniform(-0.4, 0.4, (steps, 2)).astype(np.float32)


@pytest.mark.parametrize("make", [lambda: nc.Controller(SPEC, seed=1), lambda: nc.Controller(SPEC, seed=1).quantize()])
def test_rollout_equals_steps_bit_for_bit(make):
    ctl = make()
    together = ctl.rollout(inputs())
    ctl.reset()
    assert (np.array([ctl.step(u).copy() for u in inputs()]) == together).all()


def test_rollout_goes_on_from_the_current_state():
    ctl = nc.Controller(SPEC, seed=1)
    whole = ctl.rollout(inputs())
    ctl.reset()
    parts = np.concatenate([ctl.rollout(inputs()[:20]), ctl.rollout(inputs()[20:])])
    assert (whole == parts).all()


@pytest.mark.parametrize(
    "u",
    [
        np.zeros(3, np.float32),
        np.zeros((1, 2), np.float32),
        np.float32(0.5),
        [0.0, 0.0, 0.0],
        [0.0],
        [],
        [[0.0], [0.0, 1.0]],
        [0.0, None],
        [0.0, 10**400],
        ["0", "0"],
        [1j, 0.0],
        np.zeros(2, np.complex64),
        "ab",
        b"ab",
        {0: 0.0, 1: 0.0},
        {0.0, 1.0},
        object,
        None,
        np.ma.array([1.0, 2.0], mask=[False, True], dtype=np.float32),
        [np.ma.masked, 1.0],
        np.array(["2020-01-01", "2020-01-02"], np.datetime64),
    ],
    ids=lambda u: " ".join(repr(u).split()),
)
@pytest.mark.parametrize("quantized", [False, True])
def test_bad_observation_is_refused_and_leaves_the_state(u, quantized):
    ctl = nc.Controller(SPEC, seed=1)
    ctl = ctl.quantize() if quantized else ctl
    before = ctl.state.copy()
    with pytest.raises(nc.LayoutError, match=r"^u: .*; allowed: float32 numbers of shape \(2,\)") as caught:
        ctl.step(u)
    assert "\n" not in str(caught.value)
    assert (ctl.state == before).all()


SLOW = [
    [0.1, -0.3],
    (0.1, -0.3),
    np.array([0.1, -0.3]),
    np.array([0.1, 9, -0.3, 9], np.float32)[::2],
    np.array([0.1, -0.3], object),
    np.array([0.1, -0.3], ">f4"),
    array.array("d", [0.1, -0.3]),
]


@pytest.mark.parametrize("u", SLOW, ids=lambda u: type(u).__name__)
@pytest.mark.parametrize("quantized", [False, True])
def test_a_slower_door_takes_other_numbers_and_says_so_once(u, quantized, monkeypatch):
    monkeypatch.setattr(controller_inputs, "_said", set())
    ctl = nc.Controller(SPEC, seed=1)
    ctl = ctl.quantize() if quantized else ctl
    exact = ctl.step(np.array([0.1, -0.3], np.float32)).copy()
    state = ctl.state.copy()
    ctl.reset()
    with pytest.warns(nc.SlowInputWarning, match="^u: a C-contiguous float32 array is faster") as told:
        assert (ctl.step(u) == exact).all() and (ctl.state == state).all()
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ctl.step(u)


@pytest.mark.parametrize("u", [[1, -3], (True, False), np.array([1, -3]), np.array([1, -3], np.int8), [2**70, 0]])
def test_integers_are_taken_as_the_floats_they_are(u, monkeypatch):
    monkeypatch.setattr(controller_inputs, "_said", {np.dtype("float32")})
    ctl = nc.Controller(SPEC, seed=1)
    exact = ctl.step(np.array([float(value) for value in u], np.float32)).copy()
    ctl.reset()
    assert (ctl.step(u) == exact).all()


@pytest.mark.parametrize("u", [[1e300, 0.0], [float("nan"), 0.0], [float("inf"), 0]])
def test_what_no_float32_holds_is_a_fault_by_the_slower_door_too(u, monkeypatch):
    monkeypatch.setattr(controller_inputs, "_said", {np.dtype("float32")})
    ctl = nc.Controller(SPEC, seed=1)
    ctl.step(u)
    assert ctl.fault


def test_tensors(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(controller_inputs, "_said", {np.dtype("float32")})
    ctl = nc.Controller(SPEC, seed=1)
    exact = ctl.step(np.array([0.1, -0.3], np.float32)).copy()
    ctl.reset()
    assert (ctl.step(torch.tensor([0.1, -0.3])) == exact).all()
    tracked = torch.tensor([0.1, -0.3], requires_grad=True)
    size = ctl.layout.size
    for use in (
        lambda: ctl.step(tracked),
        lambda: ctl.rollout(tracked[None]),
        lambda: ctl.quantize(calibration=tracked[None]),
        lambda: nc.Controller(SPEC, torch.zeros(size, requires_grad=True)),
    ):
        with pytest.raises(nc.LayoutError, match=r": Tensor: Can't call numpy\(\) .* Use tensor.detach.*; allowed: "):
            use()


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="the JIT is disabled: nothing is compiled")
def test_read_only_and_unaligned_observations_do_not_compile_anew():
    ctl = nc.Controller(SPEC, seed=1)
    signatures = len(cell_of(SPEC).step_checked.signatures)
    frozen = np.frombuffer(np.array([0.1, 0.2], np.float32).tobytes(), np.float32)
    unaligned = np.frombuffer(b"\0" + frozen.tobytes(), np.uint8)[1:].view(np.float32)
    first = ctl.step(frozen).copy()
    ctl.reset()
    assert ctl.step(unaligned) == first
    assert len(cell_of(SPEC).step_checked.signatures) == signatures


@pytest.mark.parametrize(
    "u",
    [np.zeros((2, 1), np.float32), np.zeros((1, 2), np.float32), np.zeros((1,) * 30 + (2,), np.float32),
     np.float32(0), np.zeros(3, np.float32), np.zeros(2, "datetime64[s]"), np.zeros(2, "S4")],
    ids=lambda u: f"{u.dtype} {u.shape}",
)  # fmt: skip
def test_compiled_code_gets_no_array_of_another_kind(u):
    ctl = nc.Controller(SPEC, seed=1)
    state = ctl.state.copy()
    for use in (ctl.step, ctl.warm_up):
        with pytest.raises(nc.LayoutError, match="^u: .*; allowed: float32 numbers of shape"):
            use(u)
    assert (ctl.state == state).all()


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">f8", "f2", "i4", ">i4", "?"])
def test_numbers_of_another_dtype_are_converted(dtype, monkeypatch):
    monkeypatch.setattr(controller_inputs, "_said", {np.dtype("float32")})
    ctl, other = nc.Controller(SPEC, seed=1), nc.Controller(SPEC, seed=1)
    u = np.array([1.0, 0.0]).astype(dtype)
    ctl.warm_up(u)
    assert (ctl.step(u) == other.step(np.array([1.0, 0.0], np.float32))).all()


def test_other_shapes_of_a_controllers_own_arrays_reach_no_compiled_code():
    u = np.array([0.1, -0.3], np.float32)
    expected = nc.Controller(SPEC, seed=1).step(u).copy()
    ctl = nc.Controller(SPEC, seed=1)
    ctl.theta.shape, ctl.state.shape = (-1, 1), (1, -1)
    y = ctl.step(u)
    y.shape = (1, 1, -1)
    ctl.reset()
    assert (ctl.step(u).ravel() == expected).all()


@pytest.mark.parametrize("u", [np.zeros((0, 2)), np.zeros(2), np.zeros((5, 3)), "abc"])
def test_bad_sequences_are_refused(u):
    ctl = nc.Controller(SPEC)
    with pytest.raises(nc.LayoutError):
        ctl.rollout(u)
    with pytest.raises(nc.LayoutError):
        ctl.quantize().rollout(u)


def test_theta_is_copied_and_cast():
    theta = nc.Controller(SPEC, seed=4).theta.astype(np.float64)
    spread = np.zeros((len(theta), 2))
    spread[:, 0] = theta
    ctl = nc.Controller(SPEC, spread[:, 0])
    theta[:] = 0
    assert ctl.theta.dtype == np.float32
    assert ctl.theta.flags.c_contiguous
    assert ctl.theta.any()


def test_views_write_through():
    ctl = nc.Controller(SPEC, seed=4)
    ctl.params["W"][2, 3] = 7.0
    assert ctl.theta[2 * 8 + 3] == 7.0
    with pytest.raises(TypeError):
        ctl.params["W"] = None
    with pytest.raises(AttributeError):
        ctl.theta = None


def test_same_seed_same_bits():
    assert (nc.Controller(SPEC, seed=3).theta == nc.Controller(SPEC, seed=3).theta).all()
    assert (nc.Controller(SPEC, seed=3).theta != nc.Controller(SPEC, seed=4).theta).any()


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="the JIT is disabled: plain Python allocates")
@pytest.mark.parametrize("quantized", [False, True])
def test_step_allocates_nothing(quantized):
    ctl = nc.Controller(SPEC, seed=1)
    ctl = ctl.quantize() if quantized else ctl
    u = inputs(1)[0]
    _nrt_python.memsys_enable_stats()
    for _ in range(100):
        ctl.step(u)
    before_nrt = rtsys.get_allocation_stats()
    assert min(growth(ctl, u) for _ in range(3)) <= 64  # the test runner's own threads allocate now and then
    assert rtsys.get_allocation_stats() == before_nrt


def growth(ctl, u):
    """Bytes that 10,000 steps leave behind."""
    tracemalloc.start()
    for _ in range(10):  # the loop's own first allocations
        ctl.step(u)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(10_000):
        ctl.step(u)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return grown


HEAVY = "pybullet gymnasium matplotlib PIL typer rich cma jinja2 serial numba.cuda numba_cuda sims firmware_export"


def test_import_is_light():
    code = f"import sys, neuroctl; sys.exit(' '.join(set('{HEAVY}'.split()) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""
