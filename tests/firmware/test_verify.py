"""The proof itself: it agrees where the bits agree, and notices where they do not."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import firmware_export
import neuroctl as nc
from firmware_export.proof import build, emulate
from firmware_export.proof import run as run_module
from firmware_export.proof.elf import read_elf
from firmware_export.proof.harness import device_under_test, write_harness
from firmware_export.proof.run import toolchains
from firmware_export.targets import TARGETS
from firmware_export.verifying import verify_devices
from neuroctl.errors import ExportError, FileFormatError
from neuroctl.maths.fixed import LOGISTIC_TABLE
from tests import reference, reference_q
from tests.firmware.helpers import CC, CELLS, controller, extreme_inputs, mixed_bits, needs_cc

TOOLCHAINS = {
    f"{target.name}: {toolchain.tools}": toolchain for target in TARGETS.values() for toolchain in toolchains(target)
}
FEW = ["host", "cortex-m0plus", "cortex-m4"]
if os.environ.get("CI"):
    assert not [one.missing for one in TOOLCHAINS.values() if one.missing], "in CI no toolchain is missing"


def toolchain_of(name):
    """A toolchain by its name, or a skip that says what is missing."""
    if TOOLCHAINS[name].missing:
        pytest.skip(f"{TOOLCHAINS[name].missing}: generated C was NOT run on {name}")
    return TOOLCHAINS[name]


def proof(header, q, toolchain, steps=10_000):
    """The report of one header with one toolchain."""
    (report,) = verify_devices([device_under_test(header.stem, header, q)], toolchain, steps, 0)
    return report


@pytest.fixture
def folder(tmp_path):
    return firmware_export.export(controller(6, 2, 2, calibrated=True), tmp_path / "fw").parent


def tampered(folder, pattern, replacement):
    """Change the first place in the header that matches."""
    header = folder / "ctl.h"
    text, count = re.subn(pattern, replacement, header.read_text(), count=1, flags=re.DOTALL)
    assert count == 1
    header.write_text(text)


# --- Agreement ---------------------------------------------------------------------------------------------------


SHAPES = {
    "16x8x4": {"neurons": 16, "inputs": 8, "outputs": 4, "calibrated": True},
    "odd 8 bit": {"neurons": 7, "inputs": 3, "outputs": 5, "weight_bits": 8},
    "identity": {"neurons": 5, "inputs": 1, "outputs": 5, "readout": "identity"},
    "16-bit state": {"neurons": 6, "inputs": 2, "outputs": 2, "state_bits": 16},
}
BY_CELL = [{"neurons": 6, "inputs": 3, "outputs": 2}, {"neurons": 5, "outputs": 3, "weight_bits": 8}]
"""Half of the cells have the one shape, the others the other; on the next toolchain it is the other way round."""


def shapes_on(name):
    """What runs with one toolchain: every cell."""
    number = list(TOOLCHAINS).index(name)
    shapes = SHAPES | {cell: {"cell": cell} | BY_CELL[(k + number) % 2] for k, cell in enumerate(CELLS)}
    for k, cell in enumerate(CELLS):  # packed weights, of a width that changes from toolchain to toolchain, or mixed
        bits = (mixed_bits(cell), 4, 3, 2)[(k + number) % 4]
        shapes[f"{cell}, packed"] = {"cell": cell, "neurons": 10, "inputs": 3, "outputs": 3, "weight_bits": bits}
    return shapes


LONG = int(os.environ.get("NEUROCTL_STEPS", "0"))
"""Steps of the long proof, ``nox -s firmware``: on emulated cores; ten times as many on the host, 10,000 on AVR."""


if LONG:

    @pytest.mark.parametrize("name", TOOLCHAINS)
    @pytest.mark.parametrize("cell", [*CELLS, "16x8x4"])
    def test_every_cell_agrees_for_long(cell, name, tmp_path):
        q = controller(16, 8, 4, calibrated=True) if cell == "16x8x4" else controller(6, 3, 2, cell=cell)
        steps = 10 * LONG if name.startswith("host") else LONG
        report = proof(firmware_export.export(q, tmp_path / "fw"), q, toolchain_of(name), steps)
        assert report.ok, report.result
        assert report.mismatches == 0
        print(f"{name}: {cell}: {report.steps} steps, {report.mismatches} mismatches")

    @pytest.mark.parametrize("cell", CELLS)
    def test_plain_integers_agree_for_long(cell):
        """Python's integers and fractions against the compiled step: every output, and the CTRNN's state."""
        q, steps = controller(6, 3, 2, cell=cell), LONG // 10
        u = extreme_inputs(3, steps, 0)
        if q.spec.cell == "ctrnn":
            expected, states = reference.ctrnn_rollout_q(q, u, LOGISTIC_TABLE)
        else:
            expected = np.array(reference_q.rollout(q, u, LOGISTIC_TABLE))
        q.reset()
        wrong = int((q.rollout_int(u) != expected).sum())
        assert wrong == 0
        if q.spec.cell == "ctrnn":
            assert (q.state == states[-1]).all()
        print(f"Python integers: {cell}: {steps} steps, {wrong} mismatches")


@pytest.mark.parametrize("name", TOOLCHAINS)
def test_every_cell_agrees_on_every_target(name, tmp_path):
    """All shapes in one program; one by one where flash or the tools take no more."""
    toolchain, shapes = toolchain_of(name), shapes_on(name)
    devices = []
    for k, options in enumerate(shapes.values()):
        q = controller(**options)
        devices.append(device_under_test(f"c{k}", firmware_export.export(q, tmp_path / f"c{k}", name=f"c{k}"), q))
    batches = [[entry] for entry in devices] if "simavr" in name else [devices]
    for batch in batches:
        for entry, report in zip(batch, verify_devices(batch, toolchain, 1000, 0), strict=True):
            assert report.ok, f"{list(shapes)[int(entry.name[1:])]}: {report.result}"
            assert (report.steps, report.mismatches, report.selftest, report.first) == (1000, 0, 0, None)


@pytest.mark.parametrize("name", [name for name in TOOLCHAINS if name.endswith(("Unicorn", "simavr"))])
def test_what_a_controller_costs(name, tmp_path):
    """The figures that the documentation states; a slower kernel or a spill shows here."""
    q = controller(16, 8, 4)
    report = proof(firmware_export.export(q, tmp_path / "fw"), q, toolchain_of(name), steps=256)
    cost = report.footprint
    assert cost.ram == 4 + 6 * 16
    assert cost.stack <= 180
    assert 0 < cost.cost_min <= cost.cost_mean <= cost.cost_max
    assert cost.cost_max <= 1.03 * cost.cost_min
    assert cost.code_small <= cost.code
    most = {
        "cortex-m0plus: zig, Unicorn": 3650,
        "cortex-m0plus: gcc, Unicorn": 3700,
        "cortex-m4: zig, Unicorn": 1610,
        "cortex-m4: gcc, Unicorn": 1475,
        "avr: gcc, simavr": 42_000,
    }.get(name)
    if most is not None:
        assert cost.cost_mean <= most
        assert cost.stack <= 128


@pytest.mark.parametrize(
    ("name", "most"),
    [("cortex-m0plus: gcc, Unicorn", 9950), ("cortex-m4: gcc, Unicorn", 4250), ("avr: gcc, simavr", 96_000)],
)
def test_what_a_gru_costs(name, most, tmp_path):
    """1,216 weights instead of the CTRNN's 448."""
    q = controller(16, 8, 4, cell="gru")
    report = proof(firmware_export.export(q, tmp_path / "fw"), q, toolchain_of(name), steps=256)
    cost = report.footprint
    assert cost.ram == 4 + 4 * 16
    assert cost.stack <= 220
    assert cost.cost_mean <= most
    assert cost.cost_max <= 1.03 * cost.cost_min


def test_how_small_a_controller_gets(tmp_path):
    """-Os on Cortex-M0+ by GCC: 16 neurons with 8-bit weights in 1.3 kB of flash; a network of five parameters."""
    toolchain = toolchain_of("cortex-m0plus: gcc, Unicorn")
    q = controller(16, 8, 4, weight_bits=8)
    cost = proof(firmware_export.export(q, tmp_path / "ctrnn"), q, toolchain, steps=256).footprint
    assert cost.code_small + cost.const <= 1340
    assert (cost.ram <= 100, cost.stack <= 128) == (True, True)
    tiny = controller(1, 1, 1, cell="elman", weight_bits=8)
    assert tiny.layout.size == 5
    cost = proof(firmware_export.export(tiny, tmp_path / "elman"), tiny, toolchain, steps=256).footprint
    assert cost.code_small + cost.const <= 700
    assert cost.ram <= 32


@pytest.mark.parametrize("name", [name for name in TOOLCHAINS if "Unicorn" in name])
def test_firmware_needs_no_library_and_no_float(name, tmp_path):
    """Of all cells, their objects refer to nothing outside: no soft float, long division or memcpy; nor an FPU."""
    toolchain = toolchain_of(name)
    devices = []
    for k, cell in enumerate(CELLS):
        q = controller(cell=cell)
        devices.append(device_under_test(f"c{k}", firmware_export.export(q, tmp_path / f"c{k}", name=f"c{k}"), q))
    write_harness(devices, tmp_path)
    command = build.zig_command(toolchain.target) if "zig" in name else list(toolchain.target.gcc)
    _, *objects = build.build_core(command, toolchain.target, tmp_path)
    for path in objects:
        parsed = read_elf(path)
        assert parsed.undefined == frozenset()
        wanted = {f"nc_v_{function}_{entry.name}" for function in ("init", "step") for entry in devices}
        assert {name for name in parsed.symbols if name.startswith("nc_v_")} >= wanted
        assert parsed.data_bytes == 0
        assert parsed.code_bytes > 0
    tool = shutil.which("arm-none-eabi-objdump") if toolchain.target.name.startswith("cortex") else None
    if tool:
        text = subprocess.run([tool, "-d", str(objects[0])], capture_output=True, text=True, check=True).stdout
        assert not re.search(r"\t(vadd|vmul|vsub|vcvt|vdiv|vmla|vfma|vldr|vstr)\b", text)


# --- Disagreement ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"(ctl_w\[.*?\{\s+)(-?\d+)", lambda m: m[1] + str(int(m[2]) ^ 1)),
        (r"(ctl_w_in\[.*?\{\s+)(-?\d+)", lambda m: m[1] + str(-int(m[2]))),
        (r"(nc_round_shift\(recurrent, )(\d+)", lambda m: m[1] + str(int(m[2]) + 1)),
        (r"(ctl_bias\[.*?\{\s+)(-?\d+)", lambda m: m[1] + str(int(m[2]) + 1000)),
        (r"(ctl_rate\[.*?\{\s+NC_RATE\()(\d+)", lambda m: m[1] + str(int(m[2]) - 1)),
        (r"(nc_pieces\[22\] = \{\s+\{)0, ", r"\g<1>9, "),
        (r"s->y\[i\] = 0;", "s->y[i] = 1 << 20;"),
    ],
    ids=["weight's last bit", "sign", "shift", "bias", "alpha", "table", "reset"],
)
@pytest.mark.parametrize("target", FEW)
def test_one_changed_constant_is_found(target, pattern, replacement, folder):
    if target == "host" and CC is None:
        pytest.skip("no C compiler on PATH")
    tampered(folder, pattern, replacement)
    report = firmware_export.verify(folder, steps=2000, targets=[target])
    entry = report.targets[0]
    assert not report.ok
    assert entry.mismatches > 0
    first = entry.first
    assert first.got != first.expected
    assert re.fullmatch(r"(out|y|s)\[\d\]", first.word)
    assert f"{first.word} is {first.got}, not {first.expected}" in entry.result
    assert report.notes == ("ctl.h was edited since it was exported",)
    json.dumps(report.to_dict())


@pytest.mark.parametrize("target", FEW[1:])
def test_a_wrong_selftest_is_found(target, folder):
    tampered(folder, r"(ctl_selftest_out\[.*?\{\s+)(-?\d+)", lambda m: m[1] + str(int(m[2]) ^ 1))
    report = firmware_export.verify(folder, steps=100, targets=[target])
    first = report.targets[0]
    assert (first.mismatches, first.selftest, report.ok) == (0, 1, False)
    assert first.result == "self-test failed at 1"


@pytest.mark.parametrize(
    ("pattern", "replacement", "words"),
    [
        (r"#define CTL_INPUTS 2", "#define CTL_INPUTS 1", "differ"),
        (r"#define CTL_DT_US 20000", "#define CTL_DT_US 2000", "different controllers"),
        (r"CTL_MODEL_CRC32 0x", "CTL_MODEL_CRC32 ~0x", "different controllers"),
        (r"(#define CTL_OUT_FRAC_BITS) \d+", r"\1 1", "fractional bits"),
        (r"static inline void ctl_step", "static inline void ctl_stop", "ctl_step"),
        (r"for \(i = 0", "for (i = 0;;", "expected"),
        (r"typedef int16_t ctl_in_t", "typedef int32_t ctl_in_t", "error"),
    ],
)
@pytest.mark.parametrize("target", FEW)
def test_a_header_that_does_not_fit_is_one_line(target, pattern, replacement, words, folder):
    if target == "host" and CC is None:
        pytest.skip("no C compiler on PATH")
    tampered(folder, pattern, replacement)
    report = firmware_export.verify(folder, steps=10, targets=[target])
    assert not report.ok
    for entry in report.targets:
        assert re.match(rf"ctl\.h: does not compile for {target}: .*{words}", entry.result)
        assert "\n" not in entry.result


def test_a_target_that_does_not_compile_hides_no_others_result(folder):
    toolchain_of("cortex-m0plus: zig, Unicorn")
    tampered(folder, r"#ifdef NC_DSP", "#ifdef __thumb2__\n#error not here\n#endif\n#ifdef NC_DSP")
    report = firmware_export.verify(folder, steps=100, targets=["cortex-m4", "cortex-m0plus"])
    results = {target.target: target.result for target in report.targets if target.ran}
    assert "not here" in results["cortex-m4"]
    assert results["cortex-m0plus"] == "ok"
    assert not report.ok


@pytest.mark.parametrize(
    ("options", "result"),
    [
        ({"neurons": 80}, "ok"),
        ({"neurons": 96}, "ok"),
        (
            {"neurons": 150, "cell": "indrnn", "layers": 1, "residual": False},
            "skipped: the program takes 2... bytes of RAM.*",
        ),
        ({"neurons": 140}, r"skipped: the program is \d+ bytes larger than the flash of avr"),
    ],
)
def test_an_avr_with_too_little_room_for_the_proof_says_so(options, result, tmp_path):
    """80 neurons were called wrong, 96 did not end: the harness's variables and the stack met."""
    q = controller(inputs=1, weight_bits=8, **options)
    report = proof(firmware_export.export(q, tmp_path / "fw"), q, toolchain_of("avr: gcc, simavr"), steps=200)
    assert re.fullmatch(result, report.result)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("for (;;) { *(volatile int32_t *)s->y = 1; }", "did not (return|end) within"),
        ("*(volatile int32_t *)0x50000000 = 1;", "crashed|nc_v_"),
    ],
    ids=["endless", "wild store"],
)
@pytest.mark.parametrize("target", FEW)
def test_firmware_that_hangs_or_crashes_is_reported(target, statement, words, folder, monkeypatch):
    if target == "host" and CC is None:
        pytest.skip("no C compiler on PATH")
    monkeypatch.setattr(emulate, "_TIMEOUT_S", 1)
    monkeypatch.setattr(run_module, "_TIMEOUT_S", 2)
    tampered(folder, r"    int32_t recurrent\[NC_ROWS\]", f"    {statement}\n    int32_t recurrent[NC_ROWS]")
    report = firmware_export.verify(folder, steps=10, targets=[target])
    first = report.targets[0]
    assert not report.ok
    assert re.search(words, first.result)


# --- Faults ------------------------------------------------------------------------------------------------------


def test_folders_that_hold_no_export(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for place in (empty, tmp_path / "none", folder / "ctl.h"):
        with pytest.raises(ExportError, match="export_dir"):
            firmware_export.verify(place)
    firmware_export.export(controller(), folder, name="second", force=True)
    with pytest.raises(ExportError, match=r"ctl\.npz, second\.npz"):
        firmware_export.verify(folder)


def test_damaged_folders(folder):
    (folder / "ctl.json").unlink()
    assert "ctl.json is missing" in firmware_export.verify(folder, steps=10, targets=FEW[1:2]).notes[0]
    text = (folder / "ctl.h").read_bytes()
    (folder / "ctl.h").unlink()
    with pytest.raises(ExportError, match=r"no ctl\.h"):
        firmware_export.verify(folder)
    (folder / "ctl.h").write_bytes(text)
    (folder / "ctl.npz").write_bytes((folder / "ctl.npz").read_bytes()[:-100])
    with pytest.raises(FileFormatError):
        firmware_export.verify(folder)


def test_a_float_controller_beside_the_header_is_refused(folder):
    nc.Controller(controller(6, 2, 2).spec).save(folder / "ctl.npz")
    with pytest.raises(FileFormatError, match="controller"):
        firmware_export.verify(folder)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"steps": True}, "steps"),
        ({"seed": -1}, "seed"),
        ({"targets": []}, "targets"),
        ({"targets": ["generic"]}, "targets"),
        ({"targets": ["z80"]}, "target"),
    ],
)
def test_bad_arguments(arguments, field, folder):
    with pytest.raises(ExportError, match=f"^{field}: .*allowed"):
        firmware_export.verify(folder, **arguments)


def test_what_is_not_installed_is_skipped_and_named(folder, monkeypatch):
    """An empty PATH leaves zig and Unicorn, which pip installs."""
    monkeypatch.setenv("PATH", "")
    report = firmware_export.verify(folder, steps=10)
    assert report.targets[0].result == "skipped: no C compiler (gcc, clang or cc) on PATH"
    assert report.ok
    assert {target.tools for target in report.targets if target.ran} == {"zig, Unicorn"}
    skipped = {target.tools: target.problem for target in report.targets if not target.ran}
    assert skipped["gcc, simavr"] == "avr-gcc is not on PATH"
    assert not firmware_export.verify(folder, steps=10, targets=["host"]).ok


@pytest.mark.parametrize("module", ["ziglang", "unicorn"])
def test_a_missing_extra_is_named(module, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    report = firmware_export.verify(folder, steps=10, targets=["cortex-m4"])
    assert re.search(rf"{module}.*neuroctl\[export\]", report.targets[0].result)


@needs_cc
def test_same_seed_same_report(folder):
    reports = [firmware_export.verify(folder, steps=300, seed=seed, targets=["host"]).to_dict() for seed in (4, 4)]
    assert reports[0] == reports[1]


def test_not_an_elf_file(tmp_path):
    for content in (b"", b"MZ" + bytes(100), b"\x7fELF\x01\x01" + bytes(20), b"\x7fELF\x01\x01" + b"\xff" * 100):
        (tmp_path / "x.o").write_bytes(content)
        with pytest.raises(ExportError, match=r"x\.o"):
            read_elf(tmp_path / "x.o")
