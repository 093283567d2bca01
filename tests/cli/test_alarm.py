"""What the commands make of an alarm's file."""

import json

import numpy as np
import pytest

import neuroctl as nc
from tests.commands import neuroctl, one_line_error


@pytest.fixture
def saved(tmp_path):
    limits = {"input_limits": ((-2, 8),), "output_limits": ((-2, 8),)}
    spec = nc.Spec(cell="elman", inputs=1, neurons=3, outputs=1, dt_s=0.01, **limits)
    alarm = nc.Alarm(nc.Controller(spec, seed=1).quantize(), threshold=0.5, smooth=2, hold=9, warm_up=5)
    alarm.save(tmp_path / "alarm.npz", meta={"machine": "pump 3"})
    return alarm, tmp_path / "alarm.npz"


def test_info_shows_the_alarm(saved):
    alarm, path = saved
    shown = neuroctl("info", path).stdout
    for words in ("alarm: threshold", "0.5", "alarm: hold", "machine", "pump 3", "model CRC-32"):
        assert words in shown
    data = json.loads(neuroctl("info", path, "--json").stdout)
    assert (data["kind"], data["alarm"]) == ("alarm", alarm.settings)
    assert data["model_crc32"] == f"{alarm.controller.model_crc32:08x}"


def test_export_writes_the_alarm_beside_its_controller(saved, tmp_path):
    import firmware_export

    alarm, path = saved
    shown = neuroctl("export", path, "--out", tmp_path / "out", "--name", "pump").stdout
    assert f"alarm: {tmp_path / 'out' / 'pump_alarm.h'}" in shown
    firmware_export.export(nc.Alarm.load(path), tmp_path / "same", name="pump")
    for name in ("pump.h", "pump_alarm.h", "pump.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    recorded = tmp_path / "recorded.npy"
    np.save(recorded, np.zeros((20, 1)))
    files = json.loads(neuroctl("export", path, "--out", tmp_path / "c", "--calibration", recorded, "--json").stdout)
    assert str(tmp_path / "c" / "ctl_alarm.h") in files["files"]
    verified = neuroctl("verify", tmp_path / "out", "--steps", 50, "--target", "host").stdout
    assert "pump_alarm.h was not run, its controller was" in verified


def test_plot_refuses_an_alarm(saved, tmp_path):
    done = neuroctl("plot", saved[1], "--out", tmp_path / "p.png", code=1)
    one_line_error(done, "alarm.npz: holds an 'alarm'; allowed: archive, front or log")


@pytest.mark.parametrize(
    "command", [("run",), ("run", "--quantized"), ("loop", "--task", "cartpole"), ("robustness",), ("link", "sim"),
                ("export", "--sweep", "--task", "cartpole")],
)  # fmt: skip
def test_what_steps_a_controller_alone_refuses_an_alarm(saved, command, tmp_path):
    out = ("--out", tmp_path / "r.png") if command[0] in ("robustness", "export") else ()
    one_line_error(neuroctl(*command, saved[1], *out, code=1), "alarm.npz: holds an 'alarm'; allowed: a 'controller'")
