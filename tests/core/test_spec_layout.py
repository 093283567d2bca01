import json
import math

import numpy as np
import pytest
from hypothesis import given

import neuroctl as nc
from neuroctl.cells import decode, genome_size, initial, layout
from neuroctl.layout import Layout
from neuroctl.spec import CELL_NAMES, Spec
from tests.strategies import any_cell

GOOD = {"cell": "ctrnn", "inputs": 2, "neurons": 3, "outputs": 1, "dt_s": 0.01}


@given(any_cell())
def test_spec_survives_json_and_is_hashable(spec):
    again = nc.Spec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert hash(again) == hash(spec)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cell", "lstm"),
        ("cell", None),
        ("inputs", 0),
        ("inputs", True),
        ("neurons", 0),
        ("neurons", -1),
        ("neurons", 2.0),
        ("neurons", 4097),
        ("outputs", "1"),
        ("dt_s", 0.0),
        ("dt_s", -0.01),
        ("dt_s", math.nan),
        ("dt_s", math.inf),
        ("dt_s", "0.01"),
        ("integrator", "leapfrog"),
        ("readout", "softmax"),
        ("dtype", "float16"),
        ("input_limits", ((0.0, 1.0),)),
        ("input_limits", ((0.0, 1.0), (1.0, 1.0))),
        ("input_limits", ((0.0, 1.0), (0.0, math.inf))),
        ("output_limits", 3.0),
        ("output_limits", ((0.0,),)),
        ("activation", "relu"),
        ("output_activation", "softmax"),
        ("mask", ((1, 0), (0, 1))),
        ("mask", ((1, 0, 2),) * 3),
        ("mask", 7),
        ("mask", ((0.7, 1, 1),) * 3),
        ("mask", (("1", 1, 1),) * 3),
        ("mask", ((None, 1, 1),) * 3),
        ("mask", ((math.inf, 1, 1),) * 3),
        ("dt_s", 10**400),
        pytest.param("dt_s", 10**5000, id="more digits than Python writes"),
        ("input_limits", ((0, 10**400), (0, 1))),
        ("context_decay", 10**400),
        ("layers", 2),
        ("residual", True),
        ("context_decay", 0.5),
        ("update", "synchronous"),
        ("horizon", 10),
    ],
)
def test_bad_field_is_named_in_one_line(field, value):
    with pytest.raises(nc.SpecError) as caught:
        nc.Spec(**(GOOD | {field: value}))
    message = str(caught.value)
    assert message.startswith(field)
    assert "allowed" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("limits", "dtype"),
    [((0, 1e-300), "float32"), ((-1e39, 1e39), "float32"), ((0, 5e-324), "float64"), ((-1.7e308, 1.7e308), "float64")],
)
def test_limits_that_cannot_be_scaled_are_refused(limits, dtype):
    fields = GOOD | {"inputs": 1, "input_limits": (limits,), "dtype": dtype}
    nc.Spec(**fields)
    with pytest.raises(nc.SpecError, match=rf"input_limits\[0\]: .*; allowed with scale_inputs in {dtype}"):
        nc.Spec(**fields, scale_inputs=True)


def test_identity_readout_needs_as_many_outputs_as_neurons():
    with pytest.raises(nc.SpecError, match="outputs: 1; allowed with readout 'identity': 3"):
        nc.Spec(**GOOD, readout="identity")


@pytest.mark.parametrize("data", [{}, {"cell": "ctrnn"}, GOOD | {"colour": "red"}, 3, None])
def test_from_dict_names_missing_and_unknown_fields(data):
    with pytest.raises(nc.SpecError):
        nc.Spec.from_dict(data)


@given(any_cell())
def test_layout_tiles_theta_without_gaps(spec):
    blocks = layout(spec)
    touched = np.zeros(blocks.size, int)
    for view in blocks.views(touched).values():
        view += 1
    assert (touched == 1).all()


def test_layout_keeps_lanes():
    blocks = Layout(("a", (2, 3), "1"), ("b", (), "s"))
    views = blocks.views(np.arange(28.0).reshape(7, 4))
    assert views["a"].shape == (2, 3, 4)
    assert views["b"].shape == (4,)


@pytest.mark.parametrize(
    ("block", "index", "value", "text"),
    [
        ("W", (1, 2), math.nan, r"W\[1, 2\] is nan"),
        ("bias", (0,), math.inf, r"bias\[0\] is inf"),
        ("tau_s", (2,), 0.004, r"tau_s\[2\] is 0\.004.*greater than 0\.005 \[s\]"),
        ("tau_s", (0,), -1.0, r"tau_s\[0\]"),
    ],
)
def test_bad_theta_is_named(block, index, value, text):
    spec = nc.Spec(**GOOD)
    theta = initial(spec, 0)
    layout(spec).views(theta)[block][index] = value
    with pytest.raises(nc.LayoutError, match=text):
        nc.Controller(spec, theta)


@pytest.mark.parametrize("theta", [np.zeros(3), np.zeros((2, 2)), "abc", [1, [2]], 1e300 * np.ones(28)])
def test_theta_of_another_shape_is_refused(theta):
    with pytest.raises(nc.LayoutError, match="theta"):
        nc.Controller(nc.Spec(**GOOD), theta)


@given(any_cell())
def test_decode_of_any_moderate_genome_is_a_valid_theta(spec):
    genome = np.random.default_rng(1).standard_normal(genome_size(spec)) * 3
    theta = decode(spec, genome)
    layout(spec).check(theta)
    assert theta.dtype == spec.dtype
    assert (decode(spec, genome) == theta).all()


def test_decode_of_the_origin_is_center_crossing():
    spec = nc.Spec(**GOOD)
    p = layout(spec).views(decode(spec, np.random.default_rng(0).standard_normal(genome_size(spec)) * [1] * 1))
    zero = layout(spec).views(decode(spec, np.zeros(genome_size(spec))))
    assert (zero["bias"] == -0.5 * zero["W"].sum(axis=1)).all()
    assert (p["gain"] == 1).all()
    # tau spans 2 dt to 2 s
    far = np.zeros(genome_size(spec))
    far[3 * 3 + 3 : 3 * 3 + 6] = [-50, 50, 0]
    np.testing.assert_allclose(layout(spec).views(decode(spec, far))["tau_s"], [0.02, 2.0, 0.2], rtol=1e-6)


@pytest.mark.parametrize("genome", [np.zeros(3), [math.nan] * 25, np.zeros((25, 1))])
def test_bad_genome_is_refused(genome):
    with pytest.raises(nc.LayoutError, match="genome"):
        decode(nc.Spec(**GOOD), genome)


def test_each_cell_says_which_fields_it_uses():
    common = {"cell", "inputs", "neurons", "outputs", "dt_s", "activation", "readout", "dtype"}
    common |= {"input_limits", "scale_inputs", "output_limits"}
    fields_of = {
        "ctrnn": {"integrator", "output_activation", "mask"},
        "indrnn": {"output_activation", "layers", "residual", "horizon"},
        "elman": {"output_activation", "layers"},
        "jordan": {"output_activation", "context_decay"},
        "gru": {"output_activation", "layers"},
        "cfc": {"output_activation"},
        "hopfield": {"update", "settle_steps", "clamp", "order_seed"},
    }
    assert set(fields_of) == set(CELL_NAMES)
    for cell, names in fields_of.items():
        used = Spec(cell=cell, inputs=1, neurons=2, outputs=1, dt_s=0.01).used_fields()
        assert set(used) == common | names
        assert len(used) == len(set(used))
