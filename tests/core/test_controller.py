import subprocess
import sys
import tracemalloc

import numba
import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

import neuroctl as nc

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
        np.zeros(2, np.float64),
        np.zeros(2, np.int32),
        np.zeros(4, np.float32)[::2],
        [0.0, 0.0],
        None,
    ],
)
@pytest.mark.parametrize("quantized", [False, True])
def test_bad_observation_is_refused_and_leaves_the_state(u, quantized):
    ctl = nc.Controller(SPEC, seed=1)
    ctl = ctl.quantize() if quantized else ctl
    before = ctl.state.copy()
    with pytest.raises(nc.LayoutError, match="^u: .*allowed"):
        ctl.step(u)
    assert (ctl.state == before).all()


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="the JIT is disabled: nothing is compiled")
def test_read_only_and_unaligned_observations_do_not_compile_anew():
    ctl = nc.Controller(SPEC, seed=1)
    signatures = len(ctl._enter.signatures)
    frozen = np.frombuffer(np.array([0.1, 0.2], np.float32).tobytes(), np.float32)
    unaligned = np.frombuffer(b"\0" + frozen.tobytes(), np.uint8)[1:].view(np.float32)
    first = ctl.step(frozen).copy()
    ctl.reset()
    assert ctl.step(unaligned) == first
    assert len(ctl._enter.signatures) == signatures


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
