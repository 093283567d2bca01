"""Inputs within 1000 and 0.01 side by side, outputs alike: the C sees them all, on a PC, a Cortex-M0 and an AVR."""

import subprocess

import numpy as np
import pytest

import firmware_export
from tests.firmware.helpers import CC, STRICT_C, UNEQUAL, compiled, controller, needs_cc

CELLS = ("ctrnn", "indrnn", "elman", "jordan", "gru", "cfc")
PROGRAM = """#include <math.h>
#include <stdio.h>
#include "ctl.h"
int main(void)
{
    ctl_state_t state;
    double u;
    ctl_in_t in[CTL_INPUTS];
    ctl_out_t out[CTL_OUTPUTS];
    int i;
    ctl_init(&state);
    for (;;) {
        for (i = 0; i < CTL_INPUTS; i++) {
            if (fread(&u, sizeof u, 1, stdin) != 1) return 0;
            in[i] = ctl_in_clip(i, (int32_t)floor(ldexp(u, CTL_IN_FRAC_BITS[i]) + 0.5));
        }
        ctl_step(&state, in, out);
        for (i = 0; i < CTL_OUTPUTS; i++) {
            u = ldexp((double)out[i], -CTL_OUT_FRAC_BITS[i]);
            fwrite(&u, sizeof u, 1, stdout);
        }
    }
}
"""


@needs_cc
@pytest.mark.parametrize("cell", CELLS)
def test_physical_numbers_by_the_headers_arrays(cell, tmp_path):
    q = controller(inputs=3, outputs=2, cell=cell, dtype="float64", **UNEQUAL)
    low, high = np.array(q.spec.input_limits).T
    u = low + (high - low) * np.random.default_rng(0).random((200, 3))
    firmware_export.export(q, tmp_path, name="ctl")
    program = compiled(CC, [*STRICT_C, f"-I{tmp_path}", "-Wl,--no-as-needed", "-lm"], PROGRAM, tmp_path)

    def run(inputs):
        done = subprocess.run([program], input=inputs.tobytes(), capture_output=True, check=True)
        return np.frombuffer(done.stdout).reshape(-1, 2)

    y = run(u)
    assert np.array_equal(y, q.rollout(u))
    for i in range(3):
        still = u.copy()
        still[:, i] = 0.0
        assert (run(still) != y).any(), f"input {i} moves nothing"


@pytest.mark.parametrize("cell", CELLS)
def test_every_bit_on_a_pc_a_cortex_m0_and_an_avr(cell, tmp_path):
    q = controller(inputs=3, outputs=2, cell=cell, **UNEQUAL)
    firmware_export.export(q, tmp_path / "fw", name="ctl")
    report = firmware_export.verify(tmp_path / "fw", steps=300, targets=["host", "cortex-m0", "avr"])
    assert report.ok, [target.result for target in report.targets]
    if not any(target.ran for target in report.targets):
        pytest.skip("no toolchain: generated C was NOT run")


@needs_cc
@pytest.mark.parametrize("kind", ["IN", "OUT"])
def test_a_header_with_other_fractional_bits_is_found(kind, tmp_path):
    header = firmware_export.export(controller(inputs=3, outputs=2, **UNEQUAL), tmp_path / "fw", name="ctl")
    text = header.read_text()
    before, after = text.split(f"CTL_{kind}_FRAC_BITS[CTL_{kind}PUTS] = {{\n    ", 1)
    header.write_text(f"{before}CTL_{kind}_FRAC_BITS[CTL_{kind}PUTS] = {{\n    1{after}")
    report = firmware_export.verify(tmp_path / "fw", steps=10, targets=["host"])
    assert not report.ok
    assert all("fractional bits" in target.result for target in report.targets)


def test_shared_formats_are_one_macro_as_ever(tmp_path):
    text = firmware_export.export(controller(), tmp_path, name="ctl").read_text()
    assert "#define CTL_IN_FRAC_BITS 13\n#define CTL_OUT_FRAC_BITS 11\n" in text
    assert "FRAC_BITS[" not in text
