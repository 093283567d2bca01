"""What export refuses, what it leaves alone, and what a failure leaves behind."""

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import firmware_export
import neuroctl as nc
from firmware_export import folder as folder_module
from firmware_export.names import MAX_LENGTH, check_name
from neuroctl.errors import ExportError
from tests.firmware.helpers import FILES, controller


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- Arguments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", "1x", "a-b", "a b", "a.b", "../a", "é", "ｘ", "a\n", "int", "class", "co_await", "restrict", "_a", "__a", "_A"]
    + ["a_", "a__b", "nc_x", "nc", "NC_x", "stdint", "math", "Stdint", "a" * (MAX_LENGTH + 1), "a" * 64, None, 3, b"a"],
)
def test_bad_names(name, tmp_path):
    with pytest.raises(ExportError, match=r"^name: .*allowed") as caught:
        firmware_export.export(controller(), tmp_path / "fw", name=name)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "fw").exists()


@pytest.mark.parametrize(
    ("package", "name"),
    [("cmake", name) for name in ("all", "test", "clean", "help", "install", "package", "TEST", "edit_cache")]
    + [(package, name) for package in ("arduino", "platformio") for name in ("arduino", "Arduino", "ARDUINO")],
)
def test_names_that_a_build_system_has_for_itself(package, name, tmp_path):
    assert check_name(name) == name
    with pytest.raises(ExportError, match=rf"^name: {name!r}; allowed in package '{package}'"):
        firmware_export.export(controller(), tmp_path / "fw", name=name, package=package)
    assert not (tmp_path / "fw").exists()


@pytest.mark.parametrize("name", ["a", "A", "ctl2", "my_pilot", "ncx", "interior", "a" * MAX_LENGTH])
def test_good_names(name):
    assert check_name(name) == name


@given(st.text(max_size=70))
def test_any_name_is_taken_or_refused_with_one_line(name):
    try:
        assert check_name(name).isidentifier()
    except ExportError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"target": "z80"}, ("target", "z80", "generic, host, cortex-m0, cortex-m0plus, cortex-m3, cortex-m4")),
        ({"target": None}, ("target", "None")),
        ({"package": "zip"}, ("package", "zip", "header")),
        ({"package": None}, ("package", "None")),
    ],
)
def test_bad_arguments(arguments, words, tmp_path):
    with pytest.raises(ExportError) as caught:
        firmware_export.export(controller(), tmp_path / "fw", **arguments)
    assert all(word in str(caught.value) for word in words)
    assert not (tmp_path / "fw").exists()


@pytest.mark.parametrize(
    ("inputs", "neurons", "words"), [(8, 200, "weights take 8"), (1, 1, "state and self-test take")]
)
def test_a_target_that_is_too_small(inputs, neurons, words, tmp_path):
    """An ATmega328P has 32 KiB of flash and 2 KiB of RAM, in which the self-test has a second state on the stack."""
    options = {"cell": "jordan", "outputs": 230} if "state" in words else {}
    q = controller(neurons, inputs, **options)
    with pytest.raises(ExportError, match=f"target: 'avr': {words}.*allowed: .*another target"):
        firmware_export.export(q, tmp_path / "fw", target="avr")
    assert not (tmp_path / "fw").exists()
    firmware_export.export(q, tmp_path / "fw", target="cortex-m4")


@pytest.mark.parametrize(("neurons", "fits"), [(120, True), (130, False), (300, False)])
def test_the_self_tests_own_state_is_counted(neurons, fits, tmp_path):
    """An IndRNN of 300 neurons has a state of 1,204 bytes: with the self-test's it is beyond an ATmega328P's 2,048."""
    q = controller(neurons, 1, cell="indrnn", layers=1, residual=False)
    if fits:
        firmware_export.export(q, tmp_path / "fw", target="avr")
        return
    with pytest.raises(ExportError, match="target: 'avr': state and self-test take .* bytes; allowed: 2048"):
        firmware_export.export(q, tmp_path / "fw", target="avr")


def test_a_float_controller_is_refused_with_advice(tmp_path):
    ctl = nc.Controller(controller().spec)
    with pytest.raises(ExportError, match="Controller; allowed: a QuantController, from Controller.quantize"):
        firmware_export.export(ctl, tmp_path / "fw")


@pytest.mark.parametrize("dt_s", [1e-7, 1e4])
def test_a_time_step_that_no_timer_has(dt_s, tmp_path):
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=1, outputs=1, dt_s=dt_s, input_limits=((-1, 1),))
    ctl = nc.Controller(spec)
    ctl.params["tau_s"][:] = 10 * dt_s
    with pytest.raises(ExportError, match="dt_s"):
        firmware_export.export(ctl.quantize(), tmp_path / "fw")


@pytest.mark.parametrize(
    ("dt_s", "off"), [(1 / 44_100, "1.4"), (2.4e-6, "17"), (1 / 240, ""), (1 / 60, ""), (1e-6, ""), (0.9995e-3, "")]
)
def test_a_time_step_that_microseconds_miss_is_refused(dt_s, off, tmp_path):
    """At 44.1 kHz DT_US was 23, 1.4 % off, without a word."""
    q = controller(2, 1, 1, cell="elman", dt_s=dt_s)
    if not off:
        firmware_export.export(q, tmp_path / "fw")
        return
    with pytest.raises(ExportError, match=rf"^dt_s: .* misses by {off} %; allowed in C: within 0\.1 %"):
        firmware_export.export(q, tmp_path / "fw")
    assert not (tmp_path / "fw").exists()


@pytest.mark.parametrize(
    ("block", "value", "words"),
    [("W_out", 40000, "W_out"), ("tau_s", 31 << 16 | 65535, "tau_s"), ("gain", -40000, "gain"), ("W", 32768, "W")],
)
def test_constants_that_do_not_fit_their_type(block, value, words, tmp_path):
    """A crafted file can hold such: the bounds may be fine although the storage is too narrow."""
    q = controller(1, 1, 1)
    q.layout.views(q.theta_q)[block][...] = value
    with pytest.raises(ExportError, match=f"{words}.*allowed"):
        firmware_export.export(q, tmp_path / "fw")
    assert not (tmp_path / "fw").exists()


def test_the_controllers_state_is_left_alone(tmp_path):
    q = controller()
    q.step_int(np.array([1000, -1000], np.int32))
    state = q.state.copy()
    firmware_export.export(q, tmp_path / "fw")
    assert np.array_equal(q.state, state)


# --- The folder --------------------------------------------------------------------------------------------------


def test_files_and_path(tmp_path):
    header = firmware_export.export(controller(), tmp_path / "deep" / "fw")
    assert header == tmp_path / "deep" / "fw" / "ctl.h"
    assert sorted(os.listdir(header.parent)) == FILES
    manifest = json.loads((header.parent / "ctl.json").read_text())
    assert manifest["model_crc32"] == controller().model_crc32
    assert isinstance(nc.load(header.parent / "ctl.npz"), nc.QuantController)


def test_export_again_replaces_an_untouched_export(tmp_path):
    firmware_export.export(controller(seed=1), tmp_path)
    firmware_export.export(controller(seed=2), tmp_path, target="cortex-m4")
    assert json.loads((tmp_path / "ctl.json").read_text())["model_crc32"] == controller(seed=2).model_crc32
    (tmp_path / "ctl_example.c").unlink()
    firmware_export.export(controller(seed=3), tmp_path)
    assert sorted(os.listdir(tmp_path)) == FILES


@pytest.mark.parametrize("foreign", ["notes.txt", "ctl.c", ".hidden", "other.h"])
def test_a_folder_with_something_else_is_refused(foreign, tmp_path):
    (tmp_path / foreign).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(ExportError, match="out_dir.*" + foreign.replace(".", r"\.")):
        firmware_export.export(controller(), tmp_path)
    assert contents(tmp_path) == before
    firmware_export.export(controller(), tmp_path, force=True)
    assert (tmp_path / foreign).read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == sorted([*FILES, foreign])


def test_another_controllers_export_is_refused(tmp_path):
    firmware_export.export(controller(), tmp_path, name="left")
    before = contents(tmp_path)
    with pytest.raises(ExportError, match="left"):
        firmware_export.export(controller(), tmp_path, name="right")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("file", ["ctl.h", "ctl_example.c", "ctl.npz"])
def test_edited_files_are_not_lost(file, tmp_path):
    firmware_export.export(controller(), tmp_path)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes() + b"/* my change */")
    before = contents(tmp_path)
    with pytest.raises(ExportError, match=f"{file} was edited"):
        firmware_export.export(controller(), tmp_path)
    assert contents(tmp_path) == before
    firmware_export.export(controller(), tmp_path, force=True)
    assert b"my change" not in (tmp_path / file).read_bytes()


def test_somebody_elses_header_of_the_same_name_is_refused(tmp_path):
    (tmp_path / "ctl.h").write_text("mine")
    with pytest.raises(ExportError, match=r"ctl\.h.*no export of ours"):
        firmware_export.export(controller(), tmp_path)
    assert contents(tmp_path) == {"ctl.h": b"mine"}


@pytest.mark.parametrize("force", [False, True])
def test_places_that_cannot_be_written(force, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / "ctl.h").mkdir(parents=True)
    for place in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nowhere", tmp_path / "taken", "a\0b"):
        with pytest.raises(ExportError, match="out_dir"):
            firmware_export.export(controller(), place, force=force)
    assert os.listdir(tmp_path / "taken") == ["ctl.h"]


# --- Interruptions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["open", "fsync", "replace"])
@pytest.mark.parametrize("call", range(1, 5))
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "ctrl-c"])
@pytest.mark.parametrize("existed", [True, False], ids=["old", "new"])
def test_a_failure_leaves_the_old_export_whole(function, call, error, existed, tmp_path, monkeypatch):
    folder = tmp_path / "fw"
    if existed:
        firmware_export.export(controller(seed=1), folder)
    before = contents(folder) if existed else None
    q = controller(seed=2)
    files = {"ctl.h": b"1", "ctl_example.c": b"2", "ctl.npz": b"3", "ctl.json": b"4"}
    real, calls = getattr(os, function), [0]

    def failing(*args, **kwargs):
        calls[0] += 1
        if calls[0] == call:
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(folder_module.os, function, failing)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else ExportError):
        folder_module.replace_all(folder, "ctl", files)
    monkeypatch.undo()
    assert (contents(folder) if folder.exists() else None) == before
    firmware_export.export(q, folder)
    assert sorted(os.listdir(folder)) == FILES


def test_leftovers_of_a_killed_export_do_not_matter(tmp_path):
    firmware_export.export(controller(), tmp_path)
    (tmp_path / ".ctl.ctl.h.partial").write_text("half")
    firmware_export.export(controller(), tmp_path)
    assert sorted(os.listdir(tmp_path)) == FILES


# --- Files -------------------------------------------------------------------------------------------------------


def test_export_file_takes_float_and_integer_controllers(tmp_path):
    """A float controller without declared limits is quantized by the recorded inputs that its file holds."""
    spec = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=1, dt_s=0.01)
    ctl, recorded = nc.Controller(spec, seed=1), np.random.default_rng(0).normal(0, 1, (50, 2))
    ctl.save(tmp_path / "float.npz", calibration=recorded)
    ctl.quantize(weight_bits=8, calibration=recorded).save(tmp_path / "integer.npz")
    first = firmware_export.export_file(tmp_path / "float.npz", tmp_path / "a", weight_bits=8)
    second = firmware_export.export_file(tmp_path / "integer.npz", tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert "int8_t ctl_w[" in first.read_text()


def test_export_file_errors(tmp_path):
    nc.Controller(nc.Spec(cell="ctrnn", inputs=1, neurons=1, outputs=1, dt_s=0.01)).save(tmp_path / "bare.npz")
    with pytest.raises(ExportError, match="calibration: missing"):
        firmware_export.export_file(tmp_path / "bare.npz", tmp_path / "fw")
    with pytest.raises(nc.FileFormatError, match="no such file"):
        firmware_export.export_file(tmp_path / "none.npz", tmp_path / "fw")
    assert not (tmp_path / "fw").exists()
