"""A sensor beyond its declared limit counts as the limit: on the board as in the simulator."""

import re
import subprocess

import numpy as np
import pytest

import firmware_export
import neuroctl as nc
from tests.firmware.helpers import CC, CELLS, STRICT_C, batch_source, compiled, controller, needs_cc, run_batch

LIMITS = ((-2.0, 2.0), (0.0, 1.0), (0.25, 3.0))
VALUES = (-100_000, -32_769, -32_768, -1, 0, 1, 2_000, 32_767, 32_768, 100_000)


@needs_cc
def test_the_c_clips_inputs_as_the_simulator_does(tmp_path):
    batch = [controller(5, 3, 2, cell=cell, input_limits=LIMITS) for cell in CELLS]
    batch.append(controller(5, 3, 2, input_limits=LIMITS, scale_inputs=True))
    batch.append(controller(4, 2, 1, input_limits=((0, 1),) * 2))
    headers = [firmware_export.export(q, tmp_path / f"c{k}", name=f"c{k}") for k, q in enumerate(batch)]
    program = compiled(CC, [*STRICT_C, "-O1"], batch_source(headers, batch), tmp_path)
    rng = np.random.default_rng(0)
    raw = [rng.integers(-32768, 32768, (300, q.spec.inputs)).astype(np.int32) for q in batch]
    # What a simulation gives: physical numbers, of which many lie beyond the limits.
    scale = [q.formats["u"].lsb for q in batch]
    physical = [u * lsb for u, lsb in zip(raw, scale, strict=True)]
    for q, u, (outputs, _) in zip(batch, raw, run_batch(program, batch, raw), strict=True):
        q.reset()
        assert np.array_equal(outputs, q.rollout_int(u))
    for q, u, exact, (outputs, _) in zip(batch, raw, physical, run_batch(program, batch, raw), strict=True):
        if not q.spec.scale_inputs:
            q.reset()
            assert np.array_equal(q.rollout(exact), q.dequantize_output(outputs))
            assert (q.quantize_input(exact) != u).mean() > 0.2


@needs_cc
def test_a_number_of_any_size_is_clipped_into_an_input(tmp_path):
    q = controller(5, 3, 2, input_limits=LIMITS)
    header = firmware_export.export(q, tmp_path / "fw")
    values = ", ".join(f"INT32_C({value})" for value in VALUES)
    source = f"""#include <stdio.h>
#include "{header}"
int main(void) {{
    static const int32_t values[] = {{ {values} }};
    int i, k;
    for (i = 0; i < CTL_INPUTS; i++) for (k = 0; k < {len(VALUES)}; k++) printf("%d ", ctl_in_clip(i, values[k]));
    return 0;
}}
"""
    program = compiled(CC, STRICT_C, source, tmp_path)
    got = [int(word) for word in subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()]
    low, high = q.input_range
    assert got == [min(max(value, a), b) for a, b in zip(low.tolist(), high.tolist(), strict=True) for value in VALUES]


def test_without_limits_nothing_is_clipped(tmp_path):
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=3, outputs=1, dt_s=0.02)
    q = nc.Controller(spec, seed=0).quantize(calibration=[[0.3, -0.9]])
    text = firmware_export.export(q, tmp_path / "fw").read_text()
    assert "clip(i, in[i])" not in text
    assert "Outputs saturate at their limits" in text
    assert firmware_export.verify(tmp_path / "fw", steps=100, targets=["host"]).ok


def test_an_export_whose_c_did_not_clip_is_named(tmp_path):
    header = firmware_export.export(controller(), tmp_path / "fw")
    header.write_text(re.sub(r"ctl_in_clip\(", "ctl_other(", header.read_text()))
    with pytest.raises(nc.ExportError, match=r"ctl.h is of a version whose C did not clip inputs: export it again"):
        firmware_export.verify(tmp_path / "fw", targets=["host"])
