"""Studies of training on tables: what is read, refused and written, and the same bits after a kill."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import neuroctl as nc
from neuroctl import io
from neuroctl.errors import DivergedError, ExportError, FileFormatError, QuantizationWarning, StudyError, TrainingError
from neuroctl.fixed_point import FixedPointConfig
from neuroctl.studies.history import groups, read_history
from neuroctl.train import study
from neuroctl.train.from_table import prepare
from neuroctl.train.study import Plan, run_training, run_trainings
from neuroctl.train.tables import read_trace
from tests.commands import neuroctl, one_line_error

ROWS = ["t,volt,speed,note", "0,1,0,a", "0.1,2,0.5,b", "0.2,3,1,c", "0.3,4,1.5,d"]
OPTIONS = {
    "dt": None, "time": None, "resample": False, "window": 25, "validation": 0.2, "cell": "elman", "neurons": 4,
    "layers": 1, "loss": "mse", "optimizer": "adam", "learning_rate": 0.03, "schedule": "constant", "warm_up": 0,
    "epochs": 12, "batch": 4, "clip": 1.0, "patience": None, "truncate": None, "seed": 0,
    "inputs": ["volt"], "outputs": ["speed"],
}  # fmt: skip


def table(path, rows=ROWS):
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def motor(tmp_path):
    """A motor of the first order, driven by random steps: 1,000 rpm, far from the numbers of a network."""
    volts = np.random.default_rng(0).uniform(-12, 12, 60).repeat(10)
    rows, speed = ["t,volt,speed"], 0.0
    for k, volt in enumerate(volts):
        speed += 0.2 * (80 * volt - speed)
        rows.append(f"{k * 0.02:.2f},{volt:.4f},{speed:.3f}")
    return table(tmp_path / "motor.csv", rows)


def trained(motor, folder, fixed_point=None, begin_with=None, **more):
    options = OPTIONS | {"data": [str(motor)]} | {k: v for k, v in more.items() if k in OPTIONS}
    settings = {name: value for name, value in more.items() if name not in OPTIONS}
    ready = prepare(options, fixed_point=fixed_point, begin_with=begin_with, threads=1)
    return ready, run_training(
        Plan(ready.training, ready.theta, ready.config, folder, save_best=ready.save, **settings)
    )


def bits(folder):
    names = ["checkpoint.npz", "best.npz", "history.csv", *(path.name for path in folder.glob("best-fixed.npz"))]
    return [(folder / name).read_bytes() for name in names]


def test_columns_are_read_by_name(tmp_path):
    trace = read_trace(table(tmp_path / "a.csv"), ["volt"], ["speed"])
    assert trace.inputs.ravel().tolist() == [1, 2, 3, 4]
    assert trace.targets.ravel().tolist() == [0, 0.5, 1, 1.5]
    assert trace.dt_s == 0.1
    semicolons = table(tmp_path / "b.csv", ["﻿" + ROWS[0].replace(",", " ; "), *(r.replace(",", ";") for r in ROWS[1:])])
    assert np.array_equal(read_trace(semicolons, ["volt"], ["speed"]).inputs, trace.inputs)


def test_other_rates_are_resampled_when_told(tmp_path):
    path = table(tmp_path / "a.csv")
    even = read_trace(path, ["volt"], ["speed"], dt_s=0.05, resample=True)
    assert even.inputs.ravel() == pytest.approx(np.arange(1, 4.01, 0.5))
    assert even.dt_s == 0.05
    with pytest.raises(
        TrainingError, match=r"row 3, column 't': 0\.1 s after the row before; allowed: 0\.05 s, dt_s, within 1%; or .*"
    ):
        read_trace(path, ["volt"], ["speed"], dt_s=0.05)


@pytest.mark.parametrize("dt", [0, -0.1, np.nan, np.inf])
@pytest.mark.parametrize("resample", [False, True])
def test_a_time_step_is_a_number_above_0(tmp_path, dt, resample):
    with pytest.raises(TrainingError, match=f"^dt: {dt}; allowed: seconds greater than 0$"):
        read_trace(table(tmp_path / "a.csv"), ["volt"], ["speed"], dt_s=dt, resample=resample)


def test_a_time_step_may_not_lead_to_more_rows_than_memory_holds(tmp_path):
    with pytest.raises(TrainingError, match="^dt: 1e-300; allowed for 0.3 s: at most 100,000,000 steps$"):
        read_trace(table(tmp_path / "a.csv"), ["volt"], ["speed"], dt_s=1e-300, resample=True)


def changed(row, text):
    return [text if k == row else line for k, line in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (changed(2, "0.1,fast,0.5,b"), r"row 3, column 'volt': 'fast'; allowed: a finite number"),
        (changed(2, "0.1,,0.5,b"), r"row 3, column 'volt': empty; allowed: a finite number"),
        (changed(2, "0.1,2,nan,b"), r"row 3, column 'speed': 'nan'; allowed: a finite number"),
        (changed(2, "0.1,2"), r"row 3 has 2 cells; allowed: 4, as row 1"),
        (changed(3, "0.1,3,1,c"), r"row 4, column 't': 0.1 after 0.1; allowed: rising times"),
        (changed(3, "0.25,3,1,c"), r"row 4, column 't': 0.15 s after the row before; allowed: 0.1 s, dt_s, .*"),
        (changed(0, "0,1,0,2"), r"row 1 has the number '0'; allowed: names of columns"),
        (changed(0, "t,volt,volt,speed"), r"two columns 'volt'; allowed: names that differ"),
        (changed(2, '0.1,"2,5",0.5,b'), r"row 3, column 'volt': '2,5'; allowed: a finite number with a decimal point"),
        (changed(2, "0.1,1_0,0.5,b"), r"row 3, column 'volt': '1_0'; allowed: a finite number"),
        (changed(2, "0.1,\u0662,0.5,b"), r"row 3, column 'volt': '\u0662'; allowed: a finite number"),
        (ROWS[:1], r"1 row; allowed: names of columns, then at least a row of numbers"),
    ],
)
def test_what_a_table_may_not_hold(tmp_path, rows, message):
    path = table(tmp_path / "a.csv", rows)
    with pytest.raises(TrainingError, match=f"^data: {path}: {message}$"):
        read_trace(path, ["volt"], ["speed"])


def test_columns_that_are_not_there(tmp_path):
    path = table(tmp_path / "a.csv")
    with pytest.raises(TrainingError, match=f"^inputs: 'amps'; allowed: columns of {path}: t, volt, speed, note$"):
        read_trace(path, ["amps"], ["speed"])
    with pytest.raises(TrainingError, match="^outputs: none; allowed: columns of "):
        read_trace(path, ["volt"], [])
    with pytest.raises(TrainingError, match="^dt: not given, and .* has no time column; allowed: seconds, or --time"):
        read_trace(table(path, ["a,b", "1,2", "2,3"]), ["a"], ["b"])
    with pytest.raises(TrainingError, match="^outputs: 'volt' is among the inputs; allowed: other columns$"):
        read_trace(table(path), ["volt"], ["speed", "volt"])
    two = table(path, ["t,time,volt,speed", "20,0,1,2", "21,0.1,2,3"])
    with pytest.raises(TrainingError, match="^time: .* has columns t and time; allowed: --time with one of them$"):
        read_trace(two, ["volt"], ["speed"])
    assert read_trace(two, ["volt", "t"], ["speed"]).dt_s == 0.1
    assert read_trace(two, ["volt"], ["speed"], time="t").dt_s == 1.0
    with pytest.raises(
        TrainingError, match=r"^data: '.*nowhere.csv': No such file or directory; allowed: a table of text"
    ):
        read_trace(tmp_path / "nowhere.csv", ["a"], ["b"])


def test_the_best_controller_is_in_physical_units(motor, tmp_path):
    ready, result = trained(motor, tmp_path / "s", epochs=60)
    assert (result.epochs, result.stop_reason, result.interrupted) == (60, "all epochs done", False)
    best = nc.load(result.best_path)
    error, spread = ready.errors(best)["speed"]
    assert spread > 100
    # The loss is a mean square of errors in halves of the targets' range.
    assert error == pytest.approx(np.sqrt(result.best_loss) * ready.scale.half[0], rel=1e-3)
    history = read_history(tmp_path / "s")
    assert history["epoch"].tolist() == list(range(1, 61))
    assert history["validation"].min() == result.best_loss == history["validation"][result.best_epoch - 1]


def test_dense_layers_and_a_learned_start_by_the_command_line(motor, tmp_path):
    data = ["--data", motor, "--inputs", "volt", "--outputs", "speed", "--cell", "gru", "--neurons", 3, "--window", 25]
    layers = ["--encoder", "4, 3", "--head", 5, "--dense-activation", "tanh", "--initial-state", "learned"]
    layers += ["--schedule", "constant"]  # a cosine depends on the number of epochs
    neuroctl("train", *data, *layers, "--epochs", 3, "--out", tmp_path / "whole")
    neuroctl("train", *data, *layers, "--epochs", 2, "--out", tmp_path / "parts")
    neuroctl("train", "--out", tmp_path / "parts", "--resume", "--epochs", 3)
    whole, parts = (nc.load(tmp_path / name / "best.npz") for name in ("whole", "parts"))
    spec = whole.spec
    assert (spec.encoder, spec.head, spec.dense_activation) == ((4, 3), (5,), "tanh")
    assert spec.initial_state == "learned" and parts.theta.tobytes() == whole.theta.tobytes()
    plain = prepare(OPTIONS | {"data": [str(motor)]}).config
    assert not {"encoder", "head", "dense_activation", "initial_state"} & {*plain, *plain["spec"]}
    done = neuroctl("train", *data, "--encoder", "4,x", "--out", tmp_path / "no", code=2)
    one_line_error(done, "encoder: '4,x'; allowed: sizes of layers, such as 32,16")


def test_a_cfc_by_the_command_line(motor, tmp_path):
    data = ["--data", motor, "--inputs", "volt", "--outputs", "speed", "--cell", "cfc", "--neurons", 3, "--window", 25]
    neuroctl("train", *data, "--backbone", "5,4", "--mode", "no_gate", "--epochs", 2, "--out", tmp_path / "s")
    neuroctl("train", "--out", tmp_path / "s", "--resume", "--epochs", 3)
    spec = nc.load(tmp_path / "s" / "best.npz").spec
    assert (spec.cell, spec.backbone, spec.mode) == ("cfc", (5, 4), "no_gate")
    plain = prepare(OPTIONS | {"data": [str(motor)], "cell": "cfc"}).config
    assert not {"backbone", "mode"} & {*plain, *plain["spec"]}
    done = neuroctl("train", *data, "--mode", "pure", "--out", tmp_path / "no", code=2)
    one_line_error(done, "mode: 'pure'; allowed: default, no_gate")


@pytest.mark.parametrize("cell", ["elman", "ctrnn", "jordan", "indrnn"])
def test_what_was_trained_in_fixed_point_is_what_is_written(motor, tmp_path, cell):
    loss = "huber" if cell == "jordan" else "mse"
    ready, result = trained(motor, tmp_path / "s", FixedPointConfig(weight_bits=8), cell=cell, loss=loss)
    assert ready.config["fixed_point"] == {"weight_bits": 8, "state_bits": 32}
    fixed = nc.load(result.fixed_path)
    assert isinstance(fixed, nc.QuantController)
    assert fixed.formats["W_out"].bits == 8
    assert len(fixed.calibration) == np.prod(ready.training.data.inputs.shape[:2])
    data, squares = ready.validation, []
    for b in range(data.inputs.shape[1]):
        fixed.reset()
        y = fixed.formats["out"].dequantize(fixed.rollout_int(fixed.quantize_input(data.inputs[:, b])))
        squares.append((y - data.targets[:, b] * ready.scale.half - ready.scale.middle) ** 2)
    error = np.sqrt(np.mean(squares))
    assert ready.errors(fixed)["speed"][0] == pytest.approx(error, rel=1e-6)
    if cell == "jordan":  # trained on targets as they are: errors of hundreds, beyond Huber's 1
        assert ready.scale.half.tolist() == [1.0]
    else:
        assert error == pytest.approx(np.sqrt(result.best_loss) * ready.scale.half[0], rel=1e-5)
    if cell != "indrnn":  # whose ReLU has a format by the data
        assert nc.load(result.best_path).quantize(weight_bits=8).model_crc32 == fixed.model_crc32
    best = io.read_archive(result.fixed_path).fields["meta"]
    assert (best["loss"], best["fixed_point"]) == (result.best_loss, ready.config["fixed_point"])


@pytest.mark.parametrize("cell", ["elman", "indrnn"])
def test_a_training_in_fixed_point_goes_on_with_the_same_bits(motor, tmp_path, cell):
    config = FixedPointConfig(weight_bits=4)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trained(motor, whole, config, cell=cell)
    for epochs in (1, 5, 12):
        trained(motor, parts, config, cell=cell, epochs=epochs, resume=epochs > 1)
    (parts / "best-fixed.npz").unlink()  # killed between the two files
    trained(motor, parts, config, cell=cell, resume=True)
    assert len(bits(parts)) == 4
    assert bits(parts) == bits(whole)
    with pytest.raises(StudyError, match=r"^fixed_point.weight_bits: 8, but the study in .* has 4; allowed: "):
        trained(motor, parts, FixedPointConfig(weight_bits=8), cell=cell, resume=True)


def test_studies_of_floats_are_as_they_were(motor, tmp_path):
    trained(motor, tmp_path / "s", epochs=1)
    stored = json.loads((tmp_path / "s" / "study.json").read_text())
    assert "fixed_point" not in stored
    assert not (tmp_path / "s" / "best-fixed.npz").exists()
    with pytest.raises(StudyError, match=r"^fixed_point: \{.*\}, but the study in .* has None; allowed: "):
        trained(motor, tmp_path / "s", FixedPointConfig(), resume=True)


def test_what_training_in_fixed_point_does_not_take(motor, tmp_path):
    with pytest.raises(TrainingError, match="^truncate: 5; allowed in fixed point: None$"):
        trained(motor, tmp_path / "s", FixedPointConfig(), truncate=5)
    rows = [
        line + ("," + ("amps" if k == 0 else str(1 + k % 3 * 1e-6))) for k, line in enumerate(motor.read_text().split())
    ]
    both = {"outputs": ["speed", "amps"]}
    two = table(tmp_path / "two.csv", rows)
    text = r"^output_limits: output 1 \(1 to 1\.000002, last bit .*\) has .* steps .*allow_coarse=True$"
    with pytest.raises(ExportError, match=text) as caught:
        trained(two, tmp_path / "s", FixedPointConfig(), **both)
    assert "\n" not in str(caught.value)
    with pytest.warns(QuantizationWarning, match="output 1"):
        trained(two, tmp_path / "s", FixedPointConfig(allow_coarse=True), epochs=1, **both)


def test_outputs_whose_ranges_differ_much_are_trained_with_formats_of_their_own(motor, tmp_path):
    rows = [
        line + ("," + ("amps" if k == 0 else str(k % 3 * 1e-4))) for k, line in enumerate(motor.read_text().split())
    ]
    both = {"outputs": ["speed", "amps"]}
    _, result = trained(table(tmp_path / "two.csv", rows), tmp_path / "s", FixedPointConfig(), epochs=2, **both)
    assert nc.load(result.fixed_path).own_formats.outputs
    assert json.loads((tmp_path / "s" / "study.json").read_text())["fixed_point"]["own_formats"] is True


def test_fixed_point_by_the_command_line(motor, tmp_path):
    data = ["--data", motor, "--inputs", "volt", "--outputs", "speed", "--cell", "elman", "--window", 25]
    out, fw = tmp_path / "s", tmp_path / "fw"
    shown = neuroctl("train", *data, "--epochs", 3, "--weight-bits", 8, "--out", out).stdout
    assert f"best controller: {out / 'best-fixed.npz'}" in shown
    assert json.loads((out / "study.json").read_text())["fixed_point"] == {"weight_bits": 8, "state_bits": 32}
    (row,) = [json.loads(neuroctl("train", "--out", out, "--epochs", 4, "--resume", "--json").stdout)]
    assert (row["epochs"], row["fixed_path"]) == (4, str(out / "best-fixed.npz"))
    neuroctl("export", out / "best-fixed.npz", "--out", fw / "a")
    neuroctl("export", out / "best.npz", "--weight-bits", 8, "--out", fw / "b")
    assert (fw / "a" / "ctl.h").read_bytes() == (fw / "b" / "ctl.h").read_bytes()
    few = ["--epochs", 2, "--weight-bits", 4, "--begin-with", out / "best.npz", "--out", tmp_path / "few"]
    neuroctl("train", *data, *few)
    neuroctl("train", "--out", tmp_path / "few", "--epochs", 3, "--resume")
    shutil.copy(out / "best-fixed.npz", out / "best.npz")
    changed = neuroctl("train", "--out", tmp_path / "few", "--resume", code=1)
    one_line_error(changed, "best.npz: holds a 'quant'; allowed: a 'controller'")
    again = neuroctl("train", "--out", out, "--resume", "--weight-bits", 4, code=1)
    one_line_error(again, "fixed_point.weight_bits: 4, but the study in", "has 8")
    one_line_error(neuroctl("train", *data, "--out", fw, "--weight-bits", 5, code=1), "--weight-bits: 5; allowed: 2, 3")
    truncated = neuroctl("train", *data, "--out", tmp_path / "t", "--quantized", "--truncate", 5, code=1)
    one_line_error(truncated, "truncate: 5; allowed in fixed point: None")
    assert not (tmp_path / "t").exists()
    neuroctl("train", *data, "--epochs", 1, "--quantized", "--seeds", 2, "--out", tmp_path / "q")
    assert nc.load(tmp_path / "q" / "seed-1" / "best-fixed.npz").formats["W_in"].bits == 16


@pytest.mark.parametrize("cell", ["elman", "jordan"])
def test_a_training_begins_with_another_ones_controller(motor, tmp_path, cell):
    _, floats = trained(motor, tmp_path / "f", cell=cell)
    more = {"cell": cell, "begin_with": str(floats.best_path), "learning_rate": 1e-30, "epochs": 2}
    _, same = trained(motor, tmp_path / "g", **more)
    assert same.best_loss == pytest.approx(floats.best_loss, rel=1e-4)
    ready, fixed = trained(motor, tmp_path / "q", FixedPointConfig(weight_bits=8), **more)
    assert fixed.best_loss == pytest.approx(floats.best_loss, rel=0.3)
    wanted = nc.load(floats.best_path).theta
    assert ready.controller(ready.theta).theta == pytest.approx(wanted, rel=1e-5, abs=1e-5 * ready.scale.half[0])
    with pytest.raises(TrainingError, match="^begin_with: .*best.npz: neurons: 4; allowed: 5, as by the tables"):
        trained(motor, tmp_path / "n", **more | {"neurons": 5})
    with pytest.raises(FileFormatError, match=r"best-fixed.npz: holds a 'quant'; allowed: a 'controller'$"):
        trained(motor, tmp_path / "n", **more | {"begin_with": str(fixed.fixed_path)})
    spec = replace(nc.load(floats.best_path).spec, initial_state="learned")
    nc.Controller(spec).save(tmp_path / "learned.npz")
    text = "^begin_with: .*learned.npz: initial_state: 'learned'; allowed: 'zeros', as by the tables"
    with pytest.raises(TrainingError, match=text):
        trained(motor, tmp_path / "i", **(more | {"begin_with": str(tmp_path / "learned.npz")}))


def test_a_training_that_was_stopped_goes_on_with_the_same_bits(motor, tmp_path):
    whole = tmp_path / "whole"
    trained(motor, whole)

    def stop(row):
        if row.epoch in (1, 5):
            signal.raise_signal(signal.SIGTERM if row.epoch == 1 else signal.SIGINT)

    for k, epochs in enumerate((1, 5)):
        result = trained(motor, tmp_path / "parts", resume=k > 0, on_epoch=stop)[1]
        assert (result.interrupted, result.epochs) == (True, epochs)
    result = trained(motor, tmp_path / "parts", resume=True)[1]
    assert not result.interrupted
    assert bits(tmp_path / "parts") == bits(whole)


def test_a_time_limit_counts_from_the_first_epoch_which_compiles(motor, tmp_path, monkeypatch):
    now = iter(range(0, 100_000, 100))  # each look at the clock is 100 s later
    monkeypatch.setattr("neuroctl.train.study.time.monotonic", lambda: float(next(now)))
    result = trained(motor, tmp_path / "short", time_limit_s=50.0)[1]
    assert (result.epochs, result.stop_reason) == (1, "time is up")
    result = trained(motor, tmp_path / "short", resume=True, time_limit_s=1e9)[1]
    assert (result.epochs, result.stop_reason) == (12, "all epochs done")


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_training_killed_at_ten_moments_goes_on_with_the_same_bits(motor, tmp_path, seeds, monkeypatch):
    """A child of this process is killed, as that has compiled already: SIGKILL within the first epochs or later."""
    monkeypatch.setattr(study, "_CHECKPOINT_S", 0.05)  # there are several
    ready = [prepare(OPTIONS | {"data": [str(motor)], "epochs": 60, "seed": k}, threads=1) for k in range(seeds)]
    rng = np.random.default_rng(int.from_bytes(os.urandom(4)))

    def train(out, **settings):
        plans = []
        for k, each in enumerate(ready):
            old = (out / str(k) / "study.json").exists()
            plans.append(Plan(each.training, each.theta, each.config, out / str(k), each.save, resume=old))
        return run_trainings(plans, **settings)

    begin = time.monotonic()
    results = train(tmp_path / "whole", workers=1)
    spent = time.monotonic() - begin
    assert [result.epochs for result in results] == [60] * seeds
    kills = 0
    while kills < 10:
        parts = tmp_path / f"parts-{kills}"
        child = os.fork()
        if not child:
            train(parts, workers=1)
            os._exit(0)
        time.sleep(rng.uniform(0, 0.8 * spent))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
        train(parts, workers=2)
        for k in range(seeds):
            assert bits(parts / str(k)) == bits(tmp_path / "whole" / str(k))


def test_the_command_killed_and_resumed_gives_the_same_bits(motor, tmp_path):
    """The process that a user starts is killed, at random epochs: 3 times, 10 with NEUROCTL_FULL."""
    epochs, rng = 1500, np.random.default_rng(int.from_bytes(os.urandom(4)))
    data = ["--data", motor, "--inputs", "volt", "--outputs", "speed", "--cell", "elman", "--window", 25]
    data = ["train", *map(str, data), "--neurons", "4", "--batch", "4", "--weight-bits", "8", "--epochs", str(epochs)]
    neuroctl(*data, "--out", tmp_path / "whole")
    for k in range(10 if os.environ.get("NEUROCTL_FULL") else 3):
        parts, last = tmp_path / f"parts-{k}", int(rng.integers(epochs))
        command = [sys.executable, "-m", "neuroctl", *data, "--out", str(parts)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and rows_in(parts / "history.csv") < last:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.02))
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert last <= rows_in(parts / "history.csv") < epochs
        neuroctl("train", "--out", parts, "--resume")
        assert bits(parts) == bits(tmp_path / "whole")


def rows_in(history):
    """Return the whole rows under a history's header; -1 if there is none yet."""
    return history.read_bytes().count(b"\n") - 1 if history.is_file() else -1


def test_side_by_side_and_alone_are_the_same_bits(motor, tmp_path):
    ready = [prepare(OPTIONS | {"data": [str(motor)], "seed": k}, threads=1) for k in range(3)]
    plans = [Plan(each.training, each.theta, each.config, tmp_path / str(k)) for k, each in enumerate(ready)]
    run_trainings(plans, workers=3)
    for k, each in enumerate(ready):
        run_training(Plan(each.training, each.theta, each.config, tmp_path / f"alone-{k}"))
        assert bits(tmp_path / str(k)) == bits(tmp_path / f"alone-{k}")


def test_one_that_diverges_does_not_end_the_others(motor, tmp_path):
    steep = {"optimizer": "sgd", "learning_rate": 1e300}
    ready = [prepare(OPTIONS | {"data": [str(motor)]} | more, threads=1) for more in (steep, {})]
    plans = [Plan(each.training, each.theta, each.config, tmp_path / str(k)) for k, each in enumerate(ready)]
    with pytest.raises(DivergedError, match=f"^{tmp_path / '0'}: epoch 1, step 1: the largest parameter, in "):
        run_trainings(plans, workers=2)
    assert len(read_history(tmp_path / "1")["epoch"]) == OPTIONS["epochs"]


def test_another_training_in_the_folder_is_refused(motor, tmp_path):
    trained(motor, tmp_path / "s", epochs=1)
    with pytest.raises(
        StudyError, match="^neurons: 5, but the study in .* has 4; allowed: the options it was begun with$"
    ):
        trained(motor, tmp_path / "s", neurons=5, resume=True)
    with pytest.raises(StudyError, match="^out: .* holds a study already; allowed: another folder, or --resume$"):
        trained(motor, tmp_path / "s")
    assert trained(motor, tmp_path / "s", epochs=3, resume=True)[1].epochs == 3
    with pytest.raises(StudyError, match="^epochs: 2; allowed: from 3, those done$"):
        trained(motor, tmp_path / "s", epochs=2, resume=True)


def test_what_training_on_tables_refuses(motor, tmp_path):
    def refused(**more):
        with pytest.raises(TrainingError) as error:
            prepare(OPTIONS | {"data": [str(motor)]} | more)
        return str(error.value)

    assert refused(optimizer="lbfgs") == "optimizer: 'lbfgs'; allowed: adam, adamw, sgd"
    assert refused(window=400).startswith("window: 400 makes one sequence of 600 rows; allowed: two sequences or more")
    assert refused(data=[str(motor)] * 2).startswith(f"data: {motor} twice; allowed: each table once")
    far = table(tmp_path / "far.csv", ["t,volt,speed", *(f"{k},{k},{k}e300" for k in range(60))])
    assert refused(data=[str(far)]) == "outputs: column 'speed' reaches 4.9e+301; allowed: magnitudes up to 1e+30"


def test_columns_that_never_change_are_named_as_in_the_table(tmp_path):
    constant = table(tmp_path / "a.csv", ["t,volt,speed", *(f"{k},5,{k}" for k in range(60))])
    with pytest.warns(UserWarning, match="^inputs: column 'volt' never changes; it is 5$"):
        prepare(OPTIONS | {"data": [str(constant)]})


def test_what_was_read_is_said(motor):
    assert (
        prepare(OPTIONS | {"data": [str(motor)]}).read()
        == "24 sequences of 25 steps of 0.02 s; 5 of them not trained on"
    )
    whole = prepare(OPTIONS | {"data": [str(motor)], "window": 0, "validation": 0.0}).read()
    assert whole == "1 sequence of 600 steps of 0.02 s"


def run(*arguments, cwd=None):
    done = subprocess.run(
        [sys.executable, "-m", "neuroctl", "train", *map(str, arguments)], capture_output=True, text=True, cwd=cwd
    )
    return done.returncode, done.stdout, done.stderr


def test_several_seeds_by_the_command_line(motor, tmp_path):
    out, picture = tmp_path / "s", tmp_path / "losses.png"
    data = ["--data", motor, "--inputs", "volt", "--outputs", "speed", "--cell", "elman", "--window", 25]
    code, text, log = run(*data, "--epochs", 3, "--seeds", 2, "--out", out, "--plot", picture, "--json")
    assert code == 0, log
    rows = json.loads(text)["studies"]
    assert [row["seed"] for row in rows] == [0, 1]
    assert rows[0]["best_loss"] != rows[1]["best_loss"]
    assert set(rows[0]["outputs"]) == {"speed"}
    assert picture.read_bytes().startswith(b"\x89PNG")
    code, text, log = run("--out", out / "seed-1", "--epochs", 5, "--resume")
    assert code == 0, log
    assert "all epochs done" in text
    assert len(read_history(out / "seed-1")["epoch"]) == 5
    # From another folder its tables are found; what was in them must not have changed.
    code, text, log = run("--out", out / "seed-1", "--resume", cwd="/")
    assert code == 0, log
    motor.write_text(motor.read_text().rstrip() + "1\n")
    code, text, log = run("--out", out / "seed-1", "--resume")
    assert (code, log.count("\n")) == (1, 1)
    assert log.startswith(f"error: data: {motor}: changed since the study in {out / 'seed-1'} was begun; allowed: ")
    code, text, log = run(*data, "--epochs", 2, "--validation", 0, "--out", tmp_path / "all")
    assert (code, "nan" in text + log) == (0, False)
    none, other = tmp_path / "none", tmp_path / "other"
    code, text, log = run("--out", none, "--resume")
    assert (code, log) == (1, f"error: out: {none} holds no study to resume; allowed: a folder with a study.json\n")
    other.mkdir()
    for stored, message in (
        ("[1", f"{other / 'study.json'}: damaged; allowed: the JSON that a study wrote"),
        (
            '{"task": "cartpole"}',
            f"task: 'train', but the study in {other} has 'cartpole'; allowed: what it was begun with",
        ),
    ):
        (other / "study.json").write_text(stored)
        code, text, log = run("--out", other, "--resume")
        assert (code, log) == (1, f"error: {message}\n")
    code, text, log = run("--out", tmp_path / "none")
    assert (code, log) == (1, "error: data: none; allowed: --data FILE, a table of text (CSV)\n")


def test_compare_shows_the_lowest_losses_of_trainings(motor, tmp_path):
    for seed in (0, 1):
        trained(motor, tmp_path / "elman" / str(seed), seed=seed, validation=0.0)
        trained(motor, tmp_path / "jordan" / str(seed), seed=seed, validation=0.0, cell="jordan")
    elman, jordan = groups([tmp_path])
    assert (elman.label, elman.training, elman.seeds) == ("elman", True, (0, 1))
    lowest = [[read_history(tmp_path / cell / s)["loss"].min() for s in "01"] for cell in ("elman", "jordan")]
    assert [elman.final.tolist(), jordan.final.tolist()] == lowest
    trained(motor, tmp_path / "more", epochs=6)
    (held,) = groups([tmp_path / "more"])
    assert held.final.tolist() == [read_history(tmp_path / "more")["validation"].min()]
    picture = tmp_path / "compare.png"
    done = neuroctl("compare", tmp_path / "elman", tmp_path / "jordan", "--out", picture)
    assert done.stdout.startswith("Lowest loss, of validation where there is one ")
    assert re.search(r"studies +seeds +steps +mean +std +best +worst *\nelman +2", done.stdout)
    assert picture.read_bytes().startswith(b"\x89PNG")
    (one,) = json.loads(neuroctl("compare", tmp_path / "jordan", "--json").stdout)["groups"]
    assert one["losses"] == lowest[1]


def test_columns_name_inputs_and_outputs_and_older_studies_go_on(motor, tmp_path):
    _, result = trained(motor, tmp_path / "s", epochs=1)
    spec = nc.load(result.best_path).spec
    assert (spec.input_names, spec.output_names) == (("volt",), ("speed",))
    study = tmp_path / "s" / "study.json"
    stored = json.loads(study.read_text())
    del stored["spec"]["input_names"], stored["spec"]["output_names"]  # as earlier versions wrote it
    study.write_text(json.dumps(stored))
    trained(motor, tmp_path / "s", epochs=3, resume=True)
    trained(motor, tmp_path / "whole", epochs=3)
    assert bits(tmp_path / "s") == bits(tmp_path / "whole")
    nameless = replace(spec, input_names=(), output_names=())
    nc.Controller(nameless, nc.load(result.best_path).theta).save(tmp_path / "nameless.npz")
    trained(motor, tmp_path / "n", epochs=1, begin_with=str(tmp_path / "nameless.npz"))
    other = replace(spec, input_names=("amps",))
    nc.Controller(other, nc.load(result.best_path).theta).save(tmp_path / "other.npz")
    with pytest.raises(TrainingError, match=r"^begin_with: .*: input_names: \('amps',\); allowed: \('volt',\)"):
        trained(motor, tmp_path / "o", epochs=1, begin_with=str(tmp_path / "other.npz"))
