"""The integer forms of all cells: against Python integers, their proven bounds, lanes, and the float form."""

import copy
import dataclasses

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import neuroctl as nc
from neuroctl.cells import decode, genome_size, integer_of
from neuroctl.cells.fixed.dense import pack_decay, unpack_decay
from neuroctl.errors import ExportError
from neuroctl.maths.fixed import LOGISTIC_TABLE
from neuroctl.quant import WEIGHT_BITS, integer_form
from neuroctl.spec import CELL_NAMES
from tests import reference_q
from tests.core.test_quant import inputs_int
from tests.strategies import specs

OTHERS = ("elman", "jordan", "indrnn", "gru", "cfc", "hopfield")


def quant(spec, seed, spread=0.5, weight_bits=16):
    """A random integer controller, or none where fixed point refuses its ranges."""
    rng = np.random.default_rng(seed)
    options = spec.to_dict()
    if spec.update == "continuous":
        options["update"] = "synchronous"
    spec = nc.Spec.from_dict(options)
    try:
        return integer_form(spec, decode(spec, spread * rng.standard_normal(genome_size(spec))), weight_bits)
    except ExportError:
        reject()


CASES = given(
    specs(cells=OTHERS, dtype=st.just("float32"), always_input_limits=True),
    st.integers(0, 2**32 - 1),
    st.floats(0, 2),
    st.sampled_from(WEIGHT_BITS),
)


@settings(max_examples=120, deadline=None)
@CASES
def test_the_integer_step_equals_plain_python_integers(spec, seed, spread, bits):
    q = quant(spec, seed, spread, bits)
    u = inputs_int(np.random.default_rng(seed), 10, spec.inputs)
    expected = reference_q.ROLLOUTS[spec.cell](q, u, LOGISTIC_TABLE)
    assert q.rollout_int(u).tolist() == expected
    q.reset()
    assert [q.step_int(row).tolist() for row in u] == expected


@settings(max_examples=80, deadline=None)
@CASES
def test_states_stay_within_the_proven_bounds(spec, seed, spread, bits):
    q = quant(spec, seed, spread, bits)
    views = q.state_layout.views(q.state)
    for row in inputs_int(np.random.default_rng(seed), 60, spec.inputs):
        q.step_int(row)
        assert np.abs(q.state).max() < 2**30
        for name, values in views.items():
            kind, _, layer = name.partition(".")
            if name == "context":
                assert np.abs(values).max() <= q.bounds["context"][1]
            if kind in ("s", "narrow", "reset", "update", "candidate"):
                assert np.abs(values).max() <= 32767
            if kind == "h":
                bound = "x" if spec.cell == "indrnn" else "h"
                low, high = q.bounds[f"{bound}, layer {layer}" if layer else bound]
                assert low <= values.min() <= values.max() <= high
    assert all(max(-low, high) < 2**30 for low, high in q.bounds.values())


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_lanes_equal_single_controllers(cell):
    readout = "last" if cell == "hopfield" else None
    spec = nc.Spec(cell=cell, inputs=2, neurons=5, outputs=1, dt_s=0.02, readout=readout, input_limits=((-1, 1),) * 2)
    q = nc.Controller(spec, seed=1).quantize()
    count, steps = 16, 30
    u = np.random.default_rng(0).integers(-16384, 16385, (steps, 2, count)).astype(np.int32)
    y = np.empty((steps, 1, count), np.int32)
    start = np.repeat(q.state[:, None], count, axis=1)
    for theta in (q.theta_q, np.repeat(q.theta_q[:, None], count, axis=1)):
        state = start.copy()
        integer_of(spec).rollout_q(theta, state, u, y, q.ints)
        for p in range(count):
            q.reset()
            assert (q.rollout_int(np.ascontiguousarray(u[:, :, p])) == y[:, :, p]).all()


FOLLOWING = {
    "elman": ({}, 2e-3),
    "elman relu": ({"activation": "relu"}, 1e-1),  # 8 fractional bits: the format holds the worst case
    "jordan": ({"context_decay": 0.9}, 2e-3),
    "jordan relu": ({"activation": "relu", "output_limits": ((-1, 1),) * 2}, 5e-2),
    "indrnn": ({"horizon": 100, "layers": 2, "residual": True}, 4e-2),
    "indrnn tanh": ({"activation": "tanh"}, 2e-3),
    "indrnn hard_tanh": ({"activation": "hard_tanh", "layers": 3}, 2e-3),
    "gru": ({}, 2e-3),
    "cfc": ({}, 2e-3),
    "cfc no_gate": ({"mode": "no_gate", "backbone": (8, 5)}, 2e-3),
    "cfc relu": ({"backbone": (8,), "activation": "relu"}, 1e-2),
    "hopfield": ({"readout": "last"}, 0.0),
}


@pytest.mark.parametrize("name", FOLLOWING)
def test_fixed_point_follows_float(name):
    options, tolerance = FOLLOWING[name]
    spec = nc.Spec(
        cell=name.split()[0], inputs=3, neurons=6, outputs=2, dt_s=0.02, input_limits=((-1, 1),) * 3, **options
    )
    for seed in range(5):
        ctl = nc.Controller(spec, seed=seed)
        u = np.random.default_rng(seed).uniform(-1, 1, (300, 3)).astype(np.float32)
        assert np.abs(ctl.rollout(u) - ctl.quantize().rollout(u)).max() <= tolerance


def test_a_slow_integrator_does_not_stall():
    """One neuron with u = 0.9999: what a pulse left is still there to 2 % after 5,000 steps, exp(-0.5) of it."""
    spec = nc.Spec(
        cell="indrnn", inputs=1, neurons=1, outputs=1, dt_s=0.01, readout="identity", input_limits=((-1, 1),)
    )
    ctl = nc.Controller(spec, [1.0, 0.9999, 0.0])
    u = np.zeros((5001, 1), np.float32)
    u[0] = 0.9
    fixed, exact = ctl.quantize().rollout(u), ctl.rollout(u)
    assert abs(exact[-1, 0] - 0.9 * 0.9999**5000) < 1e-3
    assert abs(fixed[-1, 0] / exact[-1, 0] - 1) < 0.02


@settings(max_examples=200, deadline=None)
@given(st.floats(-6.9, 8.9))
def test_decays_keep_sixteen_bits(kept):
    packed = pack_decay(np.array([[kept]]), "u")
    assert abs(unpack_decay(packed).item() - (1 - kept)) <= max(2.0**-16 * abs(1 - kept), 2.0**-30)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_saved_and_loaded(tmp_path, cell):
    readout = "last" if cell == "hopfield" else None
    spec = nc.Spec(cell=cell, inputs=2, neurons=5, outputs=1, dt_s=0.02, readout=readout, input_limits=((-1, 1),) * 2)
    q = nc.Controller(spec, seed=1).quantize()
    q.save(tmp_path / "q.npz")
    again = nc.load(tmp_path / "q.npz")
    u = inputs_int(np.random.default_rng(0), 20, 2)
    assert (again.rollout_int(u) == q.rollout_int(u)).all()
    assert again.model_crc32 == q.model_crc32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "hopfield", "update": "continuous", "readout": "last"}, "update: 'continuous'; allowed in fixed"),
    ],
)
def test_what_fixed_point_lacks_is_named(options, message):
    spec = nc.Spec(inputs=2, neurons=4, outputs=1, dt_s=0.02, input_limits=((-1, 1),) * 2, **options)
    with pytest.raises(ExportError, match=message):
        nc.Controller(spec).quantize()


@pytest.mark.parametrize("cell", ["ctrnn", "elman", "jordan", "indrnn", "gru", "cfc"])
def test_limits_that_drive_a_range_too_far_are_named(cell):
    """The widest input decides where all have one format; not where the bias is most of the range."""
    spec = nc.Spec(cell=cell, inputs=2, neurons=1, outputs=1, dt_s=0.02, input_limits=((-1e5, 1e5), (-1e6, 5e5)))
    ctl = nc.Controller(spec)
    for name in ctl.params:
        ctl.params[name][:] = 8.0 if name.startswith("W_in") else 0.25
    with pytest.raises(
        ExportError, match=r"can reach .*; allowed in fixed point: less than [0-9.e+]*; most"
    ) as refused:
        ctl.quantize()
    assert str(refused.value).endswith("; most of it is W_in times input_limits[1], -1e+06 to 500000")
    own = nc.Controller(dataclasses.replace(spec, input_limits=((-1, 1), (-1e6, 5e5))), ctl.theta)
    with pytest.raises(ExportError, match=r"; most of it is W_in times the inputs$"):
        own.quantize()
    ctl.params["bias.0" if cell == "indrnn" else "bias"][:] = 1e9
    with pytest.raises(ExportError, match=r"can reach .*; allowed in fixed point: less than [0-9.e+]*$"):
        ctl.quantize()


def test_ranges_too_wide_are_refused():
    spec = nc.Spec(cell="elman", inputs=1, neurons=1, outputs=1, dt_s=0.02, input_limits=((-1, 1),))
    with pytest.raises(ExportError, match="W_in, U, bias: sums can reach 2e.07; allowed in fixed point: less than"):
        nc.Controller(spec, [1e7, 0.0, 0.0, 1.0, 0.0]).quantize()
    spec = nc.Spec(cell="indrnn", inputs=1, neurons=1, outputs=1, dt_s=0.02, input_limits=((-1, 1),))
    with pytest.raises(ExportError, match=r"u\.0\[0\]: 20; allowed in fixed point: -7 to 9"):
        nc.Controller(spec, [1.0, 20.0, 0.0, 1.0, 0.0]).quantize()


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize("limits", [None, ((-1.0, 1.0),), ((-30.0, 70.0),)])
def test_a_jordan_networks_context_fits_16_bits(decay, limits):
    spec = nc.Spec(
        cell="jordan", inputs=2, neurons=6, outputs=1, dt_s=0.02, context_decay=decay, input_limits=((-1, 1),) * 2,
        output_limits=limits,
    )  # fmt: skip
    ctl = nc.Controller(spec, seed=3)
    q = ctl.quantize(state_bits=16)
    assert q.state_words[0].storage == "int16"
    u = inputs_int(np.random.default_rng(1), 300, 2)
    u[-300:] = 32767  # outputs and context as far as they go
    assert q.rollout_int(u).tolist() == reference_q.ROLLOUTS["jordan"](q, u, LOGISTIC_TABLE)
    q.reset()
    slow = np.sin(np.arange(400).reshape(200, 2) / 20)
    exact = ctl.rollout(slow)
    if decay < 0.999:  # beyond, 16 bits hold less of the sum than a step adds
        assert np.abs(exact - q.rollout(slow)).max() < 0.02 * np.abs(exact).max()


def test_a_context_too_slow_for_16_bits_is_refused():
    spec = nc.Spec(
        cell="jordan", inputs=1, neurons=2, outputs=1, dt_s=0.02, context_decay=0.99999, input_limits=((-1, 1),)
    )
    with pytest.raises(ExportError, match="context_decay: 0.99999; allowed in fixed point with these outputs: smaller"):
        nc.Controller(spec).quantize(state_bits=16)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_an_input_beyond_its_limit_is_the_limit_in_every_form(cell, scale):
    """Raw integers, physical numbers, one step and many: the same bits, and as if the limit had been given."""
    readout = "last" if cell == "hopfield" else None
    limits = ((-2.0, 3.0), (0.0, 1.0), (0.25, 0.5))  # a Hopfield network sees signs alone: never one of the last two's
    spec = nc.Spec(
        cell=cell, inputs=3, neurons=5, outputs=2, dt_s=0.02, readout=readout, input_limits=limits, scale_inputs=scale
    )
    q = nc.Controller(spec, seed=1).quantize()
    physical = np.random.default_rng(0).uniform(-5, 5, (200, 3)).astype(np.float32)
    within = np.clip(physical, *np.array(limits, np.float32).T)
    assert not np.array_equal(physical, within)
    expected = q.rollout(within)
    raw = np.random.default_rng(0).integers(-40000, 40000, (200, 3)).astype(np.int32)
    q.reset()
    assert np.array_equal(q.rollout(physical), expected)
    q.reset()
    assert np.array_equal([q.step(u).copy() for u in physical], expected)
    low, high = q.input_range
    assert np.array_equal(np.stack([low, high]), q.quantize_input(np.array(limits).T))
    q.reset()
    outputs = q.rollout_int(np.clip(raw, low, high))
    q.reset()
    assert np.array_equal(q.rollout_int(raw), outputs)
    q.reset()
    assert np.array_equal(q.rollout_int(np.asfortranarray(raw)), outputs)
    q.reset()
    assert np.array_equal([q.step_int(u).copy() for u in raw], outputs)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_a_state_goes_out_and_comes_in(cell):
    readout = "last" if cell == "hopfield" else None
    spec = nc.Spec(cell=cell, inputs=2, neurons=5, outputs=1, dt_s=0.02, readout=readout, input_limits=((-1, 1),) * 2)
    q = nc.Controller(spec, seed=1).quantize()
    other = copy.copy(q)
    u = np.random.default_rng(0).integers(-32768, 32768, (50, 2)).astype(np.int32)
    q.rollout_int(u)
    other.set_state_bytes(q.state_bytes())
    assert (other.rollout_int(u) == q.rollout_int(u)).all()
    assert all(part.low <= q.state[part.start + i] <= part.high for part in q.state_words for i in range(part.words))


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_a_state_that_no_step_leads_to_is_refused(cell):
    """As the C's restore refuses it; and nothing of it is taken."""
    readout = "last" if cell == "hopfield" else None
    spec = nc.Spec(cell=cell, inputs=2, neurons=5, outputs=1, dt_s=0.02, readout=readout, input_limits=((-1, 1),) * 2)
    q = nc.Controller(spec, seed=1).quantize()
    before, last = q.state.copy(), q.state_words[-1]
    data = bytearray(q.state_bytes())
    width = np.dtype(last.storage).itemsize
    data[-width:] = np.array(np.iinfo(last.storage).min, last.storage).tobytes()
    with pytest.raises(nc.LayoutError, match=rf"state: {last.name}\[\d\] is -\d+; allowed: {last.low} to {last.high}$"):
        q.set_state_bytes(bytes(data))
    assert (q.state == before).all()
