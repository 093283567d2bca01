"""Hypothesis strategies for specs and controllers."""

from hypothesis import strategies as st

import neuroctl as nc
from neuroctl.spec import CELL_NAMES, DENSE_ACTIVATIONS


def limits(count):
    """One (low, high) pair each, in a range of magnitudes that sensors may have side by side."""
    unit = st.sampled_from([1.0, 1.0, 1e-3, 1e3])
    pair = st.tuples(st.floats(-100, 99), st.floats(0.01, 100), unit).map(lambda t: (t[2] * t[0], t[2] * (t[0] + t[1])))
    return st.lists(pair, min_size=count, max_size=count).map(tuple)


DTYPES = st.sampled_from(["float32", "float64"])
RNN = st.sampled_from(["tanh", "logistic", "relu"])
LAYERS = st.sampled_from([1, 1, 2, 3])
INITIAL_STATE = st.sampled_from(["zeros", "learned"])
OUTPUT = st.sampled_from(["identity", "tanh", "logistic", "relu"])
OPTIONS = {
    "ctrnn": st.just({}),
    "indrnn": st.fixed_dictionaries(
        {
            "activation": st.sampled_from(["relu", "tanh", "hard_tanh"]),
            "layers": st.integers(1, 3),
            "residual": st.booleans(),
            "horizon": st.none() | st.integers(1, 50),
        }
    ),
    "hopfield": st.fixed_dictionaries(
        {
            "update": st.sampled_from(["asynchronous", "synchronous", "continuous"]),
            "settle_steps": st.integers(1, 30),
            "clamp": st.booleans(),
            "order_seed": st.integers(0, 9),
        }
    ),
    "gru": st.fixed_dictionaries({"layers": LAYERS}),
    "cfc": st.fixed_dictionaries({"mode": st.sampled_from(["default", "no_gate"])})
    | st.fixed_dictionaries(
        {
            "backbone": st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
            "activation": st.sampled_from(["tanh", "relu"]),
            "mode": st.sampled_from(["default", "no_gate"]),
        }
    ),
    "elman": st.fixed_dictionaries({"activation": RNN, "layers": LAYERS}),
    "jordan": st.fixed_dictionaries(
        {"activation": RNN, "context_decay": st.floats(0, 0.9), "output_activation": OUTPUT}
    ),
}


@st.composite
def dense_layers(draw, largest, head=True):
    """Fields of dense layers around a cell; of half of all specs there are none."""
    sizes = st.lists(st.integers(1, largest), max_size=2).map(tuple)
    fields = {"encoder": draw(sizes), "head": draw(sizes) if head else ()} if draw(st.booleans()) else {}
    if any(fields.values()):
        fields["dense_activation"] = draw(st.sampled_from(DENSE_ACTIVATIONS))
    return fields


@st.composite
def specs(draw, largest=6, dtype=DTYPES, always_input_limits=False, cells=("ctrnn",), dense=False):
    """Any valid spec of one of the cells, of up to ``largest`` inputs, neurons and outputs.

    dense: with or without dense layers; False: without.
    """
    size = st.integers(1, largest)
    cell = draw(st.sampled_from(cells))
    inputs, neurons, readout = draw(size), draw(size), draw(st.sampled_from(["affine", "identity"]))
    readout = {"jordan": "affine", "hopfield": readout.replace("affine", "last")}.get(cell, readout)
    inputs = min(inputs, neurons) if cell == "hopfield" else inputs
    outputs = neurons if readout == "identity" else draw(size)
    outputs = min(outputs, neurons) if cell == "hopfield" else outputs
    return nc.Spec(
        cell=cell,
        inputs=inputs,
        neurons=neurons,
        outputs=outputs,
        dt_s=draw(st.integers(100, 100_000)) * 1e-6,
        readout=readout,
        dtype=draw(dtype),
        input_limits=draw(limits(inputs) if always_input_limits else st.none() | limits(inputs)),
        output_limits=draw(st.none() | limits(outputs)),
        initial_state=draw(INITIAL_STATE) if cell != "hopfield" else "zeros",
        **draw(OPTIONS[cell]),
        **(draw(dense_layers(largest, head=readout == "affine")) if dense and cell != "hopfield" else {}),
    )


def any_cell(**options):
    """Any valid spec of any cell."""
    return specs(cells=CELL_NAMES, dense=True, **options)
