"""Copies, pickles and what reaches other processes: independent, and equal down to the state."""

import copy
import multiprocessing
import pickle

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.spikes import SynapticTraces
from tests.conformance.cases import OPTIONS, case

WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda ctl: pickle.loads(pickle.dumps(ctl)),
    "oldest pickle": lambda ctl: pickle.loads(pickle.dumps(ctl, 2)),
}
SPEC = nc.Spec(cell="ctrnn", inputs=2, neurons=3, outputs=1, dt_s=0.05, input_limits=((-1, 1), (-1, 1)))


def made(quantized, spec=SPEC):
    ctl = nc.Controller(spec, seed=4)
    ctl = ctl.quantize(calibration=recorded(spec)) if quantized else ctl
    ctl.rollout(recorded(spec))
    return ctl


def recorded(spec, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (20, spec.inputs)).astype(spec.dtype)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("quantized", [False, True])
def test_a_copy_is_equal_and_independent(way, quantized):
    ctl = made(quantized)
    theta = "theta_q" if quantized else "theta"
    before = ctl.state.tobytes(), getattr(ctl, theta).tobytes()
    twin = WAYS[way](ctl)
    assert type(twin) is type(ctl) and twin.spec == ctl.spec
    assert (twin.state.tobytes(), getattr(twin, theta).tobytes()) == before
    assert not twin.__dict__  # all has a slot: what has none is shared by copies
    for name in type(twin).__slots__:
        if isinstance(getattr(twin, name), np.ndarray):
            assert not np.shares_memory(getattr(twin, name), getattr(ctl, name)), name
    assert not np.shares_memory(twin.state, ctl.state)
    u = recorded(SPEC, seed=1)
    expected = WAYS[way](ctl).rollout(u)
    assert (twin.rollout(u) == expected).all() and ctl.state.tobytes() == before[0]
    assert (ctl.rollout(u) == expected).all()
    twin.reset()
    getattr(twin, theta)[:] = 0
    assert getattr(ctl, theta).any() and ctl.state.any()


@pytest.mark.parametrize("way", WAYS)
def test_what_an_integer_controller_is_made_of_comes_along(way):
    q = made(True)
    twin = WAYS[way](q)
    assert (twin.model_crc32, twin.formats, twin.bounds) == (q.model_crc32, q.formats, q.bounds)
    assert (twin.calibration == q.calibration).all() and twin.state_bytes() == q.state_bytes()


@pytest.mark.parametrize("name", OPTIONS)
def test_every_cell(name):
    ctl = made(False, case(name, "float32")[0])
    twin = copy.copy(ctl)
    u = recorded(ctl.spec, seed=2)
    assert (twin.rollout(u) == ctl.rollout(u)).all() and (twin.state == ctl.state).all()


def test_parameters_are_taken_as_they_are():
    ctl = nc.Controller(SPEC)
    ctl.params["tau_s"][:] = -1.0  # no constructor would take it
    assert (copy.copy(ctl).params["tau_s"] == -1.0).all()
    copy.copy(ctl).params["W"][:] = 7.0
    assert not (ctl.params["W"] == 7.0).any()


class Named(nc.Controller):
    def __init__(self, spec, name):
        super().__init__(spec, seed=1)
        self.name = name


@pytest.mark.parametrize("way", WAYS)
def test_what_a_subclass_adds_comes_along(way):
    twin = WAYS[way](Named(SPEC, "left"))
    assert type(twin) is Named and twin.name == "left"


@pytest.mark.parametrize("quantized", [False, True])
def test_other_processes(quantized):
    ctl = made(quantized)
    u = recorded(SPEC, seed=1)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(type(ctl).rollout, (ctl, u))
    assert (there == ctl.rollout(u)).all()


def test_a_pickle_is_no_file_of_ours(tmp_path):
    (tmp_path / "x.npz").write_bytes(pickle.dumps(made(False)))
    with pytest.raises(nc.FileFormatError, match="a foreign file"):
        nc.load(tmp_path / "x.npz")


@pytest.mark.parametrize("way", WAYS)
def test_traces(way):
    traces = SynapticTraces(2, dt_s=0.001, tau_s=0.01)
    traces.step([1, 0])
    twin = WAYS[way](traces)
    assert (twin.step([0, 1]) != traces.current).any() and (traces.step([0, 1]) == twin.current).all()
