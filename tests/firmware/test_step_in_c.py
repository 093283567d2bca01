"""The generated C against the compiled integer step and against a slow form of it in Python integers."""

import dataclasses
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import firmware_export
import neuroctl as nc
from neuroctl.maths.fixed import LOGISTIC_TABLE, logistic_q, saturate, tanh_q
from neuroctl.quant import WEIGHT_BITS, integer_form
from neuroctl.spec import CELL_NAMES
from tests import reference_q
from tests.firmware.helpers import (
    CC,
    CELLS,
    SANITIZE,
    STRICT_C,
    batch_source,
    compiled,
    controller,
    extreme_inputs,
    needs_cc,
    run_batch,
    state_of,
)
from tests.reference import ctrnn_rollout_q
from tests.strategies import specs

STEPS = 60
GAINS = {"one": (1.0, 1.0), "four": (4.0, 4.0), "odd": (0.7, 0.7), "negative": (-2.0, -2.0), "mixed": (-3.0, 3.0)}


@st.composite
def controllers(draw, cells=CELL_NAMES):
    """Any quantized controller: all cells, sizes from 1, readouts, gains, time constants, magnitudes of weights."""
    spec = draw(specs(cells=cells, largest=5, dtype=st.just("float32"), always_input_limits=True, dense=True))
    if spec.update == "continuous":
        spec = dataclasses.replace(spec, update="synchronous")
    seed, gain = draw(st.integers(0, 999)), draw(st.sampled_from(sorted(GAINS)))
    rng = np.random.default_rng(seed)
    ctl = nc.Controller(spec, seed=seed)
    p = ctl.params
    if spec.cell == "ctrnn":
        p["gain"][:] = rng.uniform(*GAINS[gain], spec.neurons)
        p["tau_s"][:] = spec.dt_s * (draw(st.just(1.0)) if seed % 5 == 0 else 10 ** rng.uniform(0, 6, spec.neurons))
    for block in ("W", "W_in", "W_out", "U", "W_in.0", "W_in.1"):
        if block in p:
            p[block][:] *= draw(st.sampled_from([0.0, 0.01, 1.0, 20.0]))
    try:
        return integer_form(spec, ctl.theta, draw(st.sampled_from(WEIGHT_BITS)), draw(st.sampled_from([16, 32])))
    except nc.ExportError:
        assume(False)


@needs_cc
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(batch=st.lists(controllers(), min_size=10, max_size=10))
def test_c_equals_numba_equals_python(batch):
    """Ten controllers in one translation unit, with sanitizers, on extreme inputs."""
    inputs = [extreme_inputs(q.spec.inputs, STEPS, seed) for seed, q in enumerate(batch)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        headers = [firmware_export.export(q, folder / f"c{k}", name=f"c{k}") for k, q in enumerate(batch)]
        program = compiled(CC, [*STRICT_C, *SANITIZE, "-O0"], batch_source(headers, batch), folder)
        outcomes = run_batch(program, batch, inputs)
    for q, u, (outputs, states) in zip(batch, inputs, outcomes, strict=True):
        if q.spec.cell == "ctrnn" and not q.spec.dense:
            slow_outputs, slow_states = ctrnn_rollout_q(q, u, LOGISTIC_TABLE)
            assert np.array_equal(states, slow_states[:, : states.shape[1]])
        else:
            slow_outputs = reference_q.rollout(q, u, LOGISTIC_TABLE)
        q.reset()
        assert np.array_equal(q.rollout_int(u), slow_outputs)
        assert np.array_equal(state_of(q), states[-1])
        assert np.array_equal(outputs, slow_outputs)


@needs_cc
def test_long_run_under_sanitizers(tmp_path):
    """Slow neurons held at the extremes until they reach them: nothing is undefined, and every bit agrees."""
    batch = [controller(16, 8, 4), controller(7, 3, 5, weight_bits=8), controller(6, 1, 6, readout="identity")]
    batch += [controller(7, 3, 2, cell=cell, weight_bits=bits) for cell in CELLS for bits in WEIGHT_BITS]
    batch += [controller(7, 3, 2, cell="jordan", state_bits=16, context_decay=decay) for decay in (0.0, 0.7, 0.999)]
    inputs = [extreme_inputs(q.spec.inputs, 20_000, 1) for q in batch]
    for q, u in zip(batch, inputs, strict=True):
        u[5_000:] = np.where(u[5_000:] < 0, -32768, 32767)
        # Adversarial: for each neuron the inputs that drive it as far as they can, up and down, for a while.
        first = next((name for name in ("W_in", "W_in.0", "W") if name in q.layout.blocks), "W")
        rows = q.layout.views(q.theta_q)[first][:, : q.spec.inputs]
        worst = np.where(np.repeat(rows, 100, axis=0) > 0, 32767, -32768)
        u[-2 * len(worst) :] = np.concatenate([worst, -1 - worst])
    headers = [firmware_export.export(q, tmp_path / f"c{k}", name=f"c{k}") for k, q in enumerate(batch)]
    program = compiled(CC, [*STRICT_C, *SANITIZE, "-O0"], batch_source(headers, batch), tmp_path)
    for q, u, (outputs, states) in zip(batch, inputs, run_batch(program, batch, inputs), strict=True):
        q.reset()
        assert np.array_equal(outputs, q.rollout_int(u))
        assert np.array_equal(states[-1], state_of(q))


@needs_cc
@pytest.mark.parametrize("kind", ["logistic", "tanh"])
def test_activations_of_every_kind_of_argument(kind, tmp_path):
    """The C form over its whole range, at every shift, against Python integers' form of a clamped number."""
    header = firmware_export.export(controller(), tmp_path / "c")
    source = f"""#include <stdio.h>
#include "{header}"
int main(void) {{
    int32_t x[2];
    while (fread(x, sizeof x, 1, stdin) == 1) {{
        const int16_t s = nc_{kind}(x[0], (unsigned)x[1]);
        fwrite(&s, sizeof s, 1, stdout);
    }}
    return 0;
}}
"""
    rng = np.random.default_rng(0)
    left = rng.integers(0, 14, 40_000)
    spread = rng.integers(-(1 << 30), 1 << 30, 20_000)
    near = (rng.uniform(-13, 13, 20_000) * 2.0 ** (17 - left[20_000:])).astype(np.int64)
    x = np.concatenate([spread, near])
    x[:8] = [0, 1, -1, -(1 << 31), (1 << 31) - 1, 1 << 16, -(11 << 17), (11 << 17) + 1]
    left[:8] = 0
    program = compiled(CC, [*STRICT_C, *SANITIZE], source, tmp_path)
    done = subprocess.run([program], input=np.column_stack([x, left]).astype("<i4").tobytes(), capture_output=True)
    clamped = [saturate(a, -(11 << (17 - n)), 11 << (17 - n)) << n for a, n in zip(x, left, strict=True)]
    expected = [(logistic_q if kind == "logistic" else tanh_q)(a) for a in clamped]
    assert np.array_equal(np.frombuffer(done.stdout, "<i2"), expected)
