"""Hypothesis strategies for specs and controllers."""

from hypothesis import strategies as st

import neuroctl as nc


def limits(count):
    """One (low, high) pair each, in a range of magnitudes that a sensor may have."""
    pair = st.tuples(st.floats(-100, 99), st.floats(0.01, 100)).map(lambda t: (t[0], t[0] + t[1]))
    return st.lists(pair, min_size=count, max_size=count).map(tuple)


DTYPES = st.sampled_from(["float32", "float64"])


@st.composite
def specs(draw, largest=6, dtype=DTYPES, always_input_limits=False):
    """Any valid spec of up to ``largest`` inputs, neurons and outputs."""
    size = st.integers(1, largest)
    inputs, neurons, readout = draw(size), draw(size), draw(st.sampled_from(["affine", "identity"]))
    outputs = neurons if readout == "identity" else draw(size)
    return nc.Spec(
        cell="ctrnn",
        inputs=inputs,
        neurons=neurons,
        outputs=outputs,
        dt_s=draw(st.floats(1e-4, 0.1)),
        readout=readout,
        dtype=draw(dtype),
        input_limits=draw(limits(inputs) if always_input_limits else st.none() | limits(inputs)),
        output_limits=draw(st.none() | limits(outputs)),
    )
