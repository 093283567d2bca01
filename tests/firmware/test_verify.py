"""The proof itself: it agrees where the bits agree, and notices where they do not."""

import json
import re
import sys

import pytest

import firmware_export
import neuroctl as nc
from firmware_export.proof import build, emulate
from firmware_export.proof import run as run_module
from firmware_export.proof.elf import read_elf
from firmware_export.targets import TARGETS
from neuroctl.errors import BackendUnavailable, ExportError, FileFormatError
from tests.firmware.helpers import CC, controller, needs_cc

CORES = [target.name for target in TARGETS.values() if target.emulator]
RUNNABLE = [target.name for target in TARGETS.values() if target.verified]


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


@pytest.mark.parametrize("target", RUNNABLE)
@pytest.mark.parametrize(
    "shape",
    [
        {"neurons": 16, "inputs": 8, "outputs": 4, "calibrated": True},
        {"neurons": 16, "inputs": 8, "outputs": 4, "weight_bits": 8},
        {"neurons": 7, "inputs": 3, "outputs": 5, "calibrated": True},
        {"neurons": 7, "inputs": 3, "outputs": 5, "weight_bits": 8},
        {"neurons": 5, "inputs": 1, "outputs": 5, "readout": "identity"},
        {"neurons": 1, "inputs": 1, "outputs": 1},
    ],
    ids=["16x8x4", "16x8x4 8 bit", "odd", "odd 8 bit", "identity", "one"],
)
def test_ten_thousand_steps_agree(target, shape, tmp_path):
    if target == "host" and CC is None:
        pytest.skip("no C compiler on PATH: generated C was NOT tested on the host")
    folder = firmware_export.export(controller(**shape), tmp_path / "fw").parent
    report = firmware_export.verify(folder, targets=[target])
    (found,) = report.targets
    assert report.ok, found.result
    assert (found.steps, found.mismatches, found.selftest, found.first) == (10_000, 0, 0, None)
    assert report.notes == ()
    json.dumps(report.to_dict())
    cost = found.footprint
    if target in CORES:
        neurons = shape["neurons"]
        assert cost.ram == -(-6 * neurons // 4) * 4
        assert cost.stack <= 160
        assert 0 < cost.instructions_min <= cost.instructions_mean <= cost.instructions_max
        assert cost.code_small <= cost.code
    else:
        assert cost is None


def test_what_a_reference_controller_costs(tmp_path):
    """The figures that the documentation states; a slower kernel or a spill shows here."""
    folder = firmware_export.export(controller(16, 8, 4), tmp_path / "fw").parent
    costs = {found.target: found.footprint for found in firmware_export.verify(folder, steps=64, targets=CORES).targets}
    assert costs["cortex-m0plus"].instructions_mean <= 3600
    assert costs["cortex-m4"].instructions_mean <= 1900
    assert max(cost.stack for cost in costs.values()) <= 128


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("weight_bits", [8, 16])
def test_firmware_needs_no_library_and_no_float(core, weight_bits, tmp_path):
    """Its object refers to nothing outside itself: no soft float, no long division, no memcpy."""
    header = firmware_export.export(controller(weight_bits=weight_bits), tmp_path / "fw")
    from firmware_export.verify import _defines

    defines = _defines(controller(weight_bits=weight_bits), "ctl")
    _, *objects = build.build_core(TARGETS[core], header, defines, tmp_path)
    for path in objects:
        parsed = read_elf(path)
        assert parsed.undefined == frozenset()
        assert {name for name in parsed.symbols if name.startswith("nc_v_")} >= {"nc_v_init", "nc_v_step"}
        assert parsed.data_bytes == 0
        assert parsed.code_bytes > 0 < parsed.const_bytes


# --- Disagreement ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"(ctl_w\[.*?\{\s+)(-?\d+)", lambda m: m[1] + str(int(m[2]) ^ 1)),
        (r"(ctl_w_in\[.*?\{\s+)(-?\d+)", lambda m: m[1] + str(-int(m[2]))),
        (r"(nc_round_shift\(recurrent, )(\d+)", lambda m: m[1] + str(int(m[2]) + 1)),
        (r"(ctl_bias\[.*?\{\s+)(-?\d+)", lambda m: m[1] + str(int(m[2]) + 1000)),
        (r"(ctl_alpha\[.*?\{\s+)(\d+)", lambda m: m[1] + str(int(m[2]) - 1)),
        (r"32767, 0, 1024|    0, 1024,", "    0, 1025,"),
        (r"s->y\[i\] = 0;", "s->y[i] = 1 << 20;"),
    ],
    ids=["weight's last bit", "sign", "shift", "bias", "alpha", "table", "reset"],
)
@pytest.mark.parametrize("target", RUNNABLE)
def test_one_changed_constant_is_found(target, pattern, replacement, folder):
    if target == "host" and CC is None:
        pytest.skip("no C compiler on PATH")
    tampered(folder, pattern, replacement)
    report = firmware_export.verify(folder, steps=2000, targets=[target])
    (found,) = report.targets
    assert not report.ok
    assert found.mismatches > 0
    first = found.first
    assert first.got != first.expected
    assert re.fullmatch(r"(out|y|s)\[\d\]", first.word)
    assert f"{first.word} is {first.got}, not {first.expected}" in found.result
    assert report.notes == ("ctl.h was edited since it was exported",)
    json.dumps(report.to_dict())


@pytest.mark.parametrize("target", CORES)
def test_a_wrong_selftest_is_found(target, folder):
    tampered(folder, r"(ctl_selftest_out\[.*?\{\s+)(-?\d+)", lambda m: m[1] + str(int(m[2]) ^ 1))
    report = firmware_export.verify(folder, steps=100, targets=[target])
    (found,) = report.targets
    assert (found.mismatches, found.selftest, report.ok) == (0, 1, False)
    assert found.result == "self-test failed at 1"


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
@pytest.mark.parametrize("target", RUNNABLE)
def test_a_header_that_does_not_fit_is_one_line(target, pattern, replacement, words, folder):
    if target == "host" and CC is None:
        pytest.skip("no C compiler on PATH")
    tampered(folder, pattern, replacement)
    with pytest.raises(ExportError, match=rf"ctl\.h: does not compile for {target}: .*{words}") as caught:
        firmware_export.verify(folder, steps=10, targets=[target])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("for (;;) { *(volatile int32_t *)s->y = 1; }", "did not (return|end) within"),
        ("*(volatile int32_t *)0x50000000 = 1;", "crashed|nc_v_"),
    ],
    ids=["endless", "wild store"],
)
@pytest.mark.parametrize("target", RUNNABLE)
def test_firmware_that_hangs_or_crashes_is_reported(target, statement, words, folder, monkeypatch):
    if target == "host" and CC is None:
        pytest.skip("no C compiler on PATH")
    monkeypatch.setattr(emulate, "_TIMEOUT_S", 1)
    monkeypatch.setattr(run_module, "_HOST_TIMEOUT_S", 1)
    tampered(folder, r"    int32_t recurrent\[2\]", f"    {statement}\n    int32_t recurrent[2]")
    report = firmware_export.verify(folder, steps=10, targets=[target])
    (found,) = report.targets
    assert not report.ok
    assert re.search(words, found.result)


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
    assert "ctl.json is missing" in firmware_export.verify(folder, steps=10, targets=CORES[:1]).notes[0]
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


def test_without_a_c_compiler_the_host_is_skipped(folder, monkeypatch):
    monkeypatch.setenv("PATH", "")
    report = firmware_export.verify(folder, steps=10)
    assert report.targets[0].result == "skipped: no C compiler (cc, gcc or clang) on PATH"
    assert report.ok
    assert [target.ran for target in report.targets] == [False, True, True]
    assert not firmware_export.verify(folder, steps=10, targets=["host"]).ok


@pytest.mark.parametrize("module", ["ziglang", "unicorn"])
def test_a_missing_extra_is_named(module, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendUnavailable, match=rf"{module}.*neuroctl\[export\]"):
        firmware_export.verify(folder, steps=10)


@needs_cc
def test_same_seed_same_report(folder):
    reports = [firmware_export.verify(folder, steps=300, seed=seed, targets=["host"]).to_dict() for seed in (4, 4)]
    assert reports[0] == reports[1]


def test_not_an_elf_file(tmp_path):
    for content in (b"", b"MZ" + bytes(100), b"\x7fELF\x01\x01" + bytes(20), b"\x7fELF\x01\x01" + b"\xff" * 100):
        (tmp_path / "x.o").write_bytes(content)
        with pytest.raises(ExportError, match=r"x\.o"):
            read_elf(tmp_path / "x.o")
