"""The C of an alarm gives Python's bits: on this machine, and on a Cortex-M4 in an emulator."""

import json
import subprocess

import numpy as np
import pytest

import firmware_export as fe
import neuroctl as nc
from firmware_export.proof.build import zig_command
from firmware_export.proof.elf import read_elf
from firmware_export.proof.emulate import Machine
from firmware_export.proof.harness import HARNESS
from neuroctl import Alarm
from tests.firmware.helpers import CC, CXX, SANITIZE, STRICT_C, STRICT_CXX, compiled, needs_cc, needs_cxx

STEPS = 3000
RUN = """#include "ctl_alarm.h"
int run(const ctl_in_t *in, int32_t *record, int steps);
int run(const ctl_in_t *in, int32_t *record, int steps)
{
    static ctl_alarm_t alarm;
    ctl_out_t out[CTL_OUTPUTS];
    int t;
    ctl_alarm_init(&alarm);
    for (t = 0; t < steps; t++) {
        record[2 * t] = ctl_alarm_step(&alarm, in + t * CTL_INPUTS, out);
        record[2 * t + 1] = alarm.level;
    }
    return 0;
}
"""
MAIN = f"""#include <stdio.h>
{RUN}
static ctl_in_t in[{STEPS} * CTL_INPUTS];
static int32_t record[2 * {STEPS}];
int main(void)
{{
    if (fread(in, sizeof in, 1, stdin) != 1) return 2;
    run(in, record, {STEPS});
    return fwrite(record, sizeof record, 1, stdout) == 1 ? 0 : 3;
}}
"""


@pytest.fixture(params=["elman, limits", "ctrnn, no limits", "indrnn", "elman, formats of their own"])
def alarm(request):
    limits = {"input_limits": ((-2, 8),) * 2, "output_limits": ((-30, 30),) * 2}
    limits = {} if "no" in request.param.split() else limits
    if "own" in request.param:
        limits = {"input_limits": ((-3e4, 3e4), (-2, 8)), "output_limits": ((-1e6, 1e6), (-30, 30))}
    cell = request.param.split(",")[0]
    spec = nc.Spec(cell=cell, inputs=2, neurons=5, outputs=2, dt_s=0.01, **limits)
    recorded = np.random.default_rng(0).uniform(-2, 8, (400, 2))
    q = nc.Controller(spec, seed=1).quantize(calibration=recorded)
    return Alarm.calibrated(q, recorded, quantile=0.97, input=1, output=1, smooth=3, hold=4, warm_up=7)


def series(alarm):
    """Raw inputs, some of them beyond the limits, and the record that the C has to give."""
    rng = np.random.default_rng(1)
    u = alarm.controller.quantize_input(rng.uniform(-2, 8, (STEPS, 2)))
    u[rng.random(STEPS) < 0.005] = (-(1 << 15), (1 << 15) - 1)
    u[-50:] = rng.integers(-(1 << 15), 1 << 15, (50, 2))
    alarm.reset()
    on, levels = alarm.rollout_int(u)
    assert 0 < on.sum() < STEPS
    return u.astype("<i2").tobytes(), np.stack([on, levels], axis=1).astype("<i4").tobytes()


@needs_cc
@needs_cxx
def test_the_same_bits_here(alarm, tmp_path):
    fe.export(alarm, tmp_path / "out", name="ctl")
    u, wanted = series(alarm)
    for compiler, strict in ((CC, STRICT_C), (CXX, STRICT_CXX)):
        flags = [*strict, *SANITIZE, f"-I{tmp_path / 'out'}"]
        program = compiled(compiler, flags, MAIN, tmp_path, f"run-{'c' if compiler == CC else 'cxx'}")
        done = subprocess.run([str(program)], input=u, capture_output=True, check=True)
        assert done.stdout == wanted


def test_the_same_bits_on_a_cortex_m4(alarm, tmp_path):
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    fe.export(alarm, tmp_path, name="ctl")
    (tmp_path / "run.c").write_text(RUN)
    command = [*zig_command(fe.TARGETS["cortex-m4"]), "-std=c99", "-ffreestanding", "-O2", "-nostdlib"]
    link = [f"-Wl,-T,{HARNESS / 'core.ld'}", "-Wl,--no-gc-sections", "-Wl,-e,0x10000"]
    subprocess.run([*command, *link, "run.c", "-o", "run.elf"], cwd=tmp_path, check=True)
    machine = Machine(read_elf(tmp_path / "run.elf"), "M4")
    u, wanted = series(alarm)
    machine.write(machine.buffer, u)
    record = machine.buffer + len(u)
    assert machine.call("run", machine.buffer, record, STEPS) == 0
    assert machine.read(record, len(wanted)) == wanted


def test_an_export_of_an_alarm(alarm, tmp_path):
    header = fe.export(alarm, tmp_path / "a", name="ctl")
    text = (tmp_path / "a" / "ctl_alarm.h").read_text()
    assert f"#define CTL_ALARM_THRESHOLD {alarm.threshold_q}\n" in text
    assert "ctl_alarm.h" in json.loads((tmp_path / "a" / "ctl.json").read_text())["files"]
    plain = fe.export(alarm.controller, tmp_path / "b", name="ctl")
    assert plain.read_bytes() == header.read_bytes()
    assert fe.export(alarm, tmp_path / "c", name="ctl", package="cmake").with_name("ctl_alarm.h").read_text() == text
    assert fe.verify(tmp_path / "a", steps=100, targets=["host"]).ok


@pytest.mark.parametrize("package", ["header", "cmake"])
def test_a_saved_alarm_gives_the_same_files(alarm, package, tmp_path):
    alarm.save(tmp_path / "alarm.npz")
    fe.export(alarm, tmp_path / "a", name="pump", package=package)
    fe.export_file(tmp_path / "alarm.npz", tmp_path / "b", name="pump", package=package)
    names = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert any(name.name == "pump_alarm.h" for name in names)
    for name in names:
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    report = fe.verify(tmp_path / "b", steps=50, targets=["host"])
    assert [note for note in report.notes if note.endswith("pump_alarm.h was not run, its controller was")]
