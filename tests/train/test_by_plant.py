"""Training by the gradient through a plant: it learns, says where it cannot, and goes on after an interruption."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import DivergedError, TrainingError
from neuroctl.fixed_point import FixedPointConfig
from neuroctl.studies.history import groups
from neuroctl.train.by_plant import PlantTraining, fit_plant
from neuroctl.train.plant_settings import PlantSettings
from neuroctl.train.study import Plan, run_training
from tests.commands import command, neuroctl, one_line_error
from tests.train.cases import CASES
from tests.train.plants import swing

# The spec and plant of ``test_plant_gradients``, whose kernels are compiled.
SPEC = replace(CASES["elman-tanh"], output_limits=((-1, 1), (-1, 1)))
SETTINGS = PlantSettings(epochs=6, updates=5, batch=20, horizon=24, learning_rate=0.02, validation_episodes=12)
LASTING = 40


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    plant = swing(tmp_path_factory.mktemp("plants"))
    path = plant.module.__file__
    with open(path, "a") as file:
        file.write("\n\ndef reward(x, a):\n    return 1.0 - x[0] * x[0]\n")
    return path


def run(plant, settings=SETTINGS, **more):
    training = PlantTraining(SPEC, plant, LASTING, settings, **more)
    progress = training.begin(training.first())
    while training.over(progress) is None:
        progress = training.epoch(progress)
    return progress


def test_horizons_double():
    settings = PlantSettings(epochs=20, horizon=100, growing=0.5)
    assert [settings.horizon_at(k) for k in (0, 4, 5, 9, 10, 19)] == [25, 25, 50, 50, 100, 100]
    assert [PlantSettings(horizon=90, first_horizon=20, growing=0).horizon_at(k) for k in (0, 5)] == [90, 90]
    assert [PlantSettings(horizon=3, epochs=4, growing=1).horizon_at(k) for k in range(4)] == [1, 1, 2, 2]
    assert PlantSettings(horizon=1).horizon_at(0) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("batch", 1.5), ("horizon", 0), ("first_horizon", 101), ("learning_rate", 0), ("growing", 1.1),
     ("schedule", "linear"), ("goal", float("nan")), ("clip", -1)],
)  # fmt: skip
def test_settings_are_checked(field, value):
    with pytest.raises(TrainingError, match=f"{field}: .*; allowed"):
        PlantSettings(**{field: value})


def test_settings_by_name():
    settings = PlantSettings.check({"horizon": 40, "batch": 10, "updates": 2, "total_timesteps": 10_000})
    assert 9_000 < settings.total_timesteps <= 10_000
    assert PlantSettings.check(settings.to_dict()) == settings
    with pytest.raises(TrainingError, match="setting: 'gamma'; allowed"):
        PlantSettings.check({"gamma": 1})


def test_it_learns(plant):
    fitted = fit_plant(SPEC, plant, LASTING, settings=replace(SETTINGS, epochs=15), seed=1)
    rows = fitted.history
    assert fitted.stopped == "all epochs done" and len(rows) == 15
    assert rows[-1].horizon == 24 and rows[0].horizon == 6
    assert max(row.validation for row in rows) == fitted.validation
    late = [row.cost for row in rows if row.horizon == 24]
    assert late[-1] < 0.98 * late[0]
    assert rows[-1].validation > rows[0].validation
    again = PlantTraining(SPEC, plant, LASTING, SETTINGS, seed=1).validation(fitted.controller.theta)
    assert again == fitted.validation


def test_the_same_bits_for_any_number_of_threads(plant):
    one, two = (run(plant, threads=k, seed=3) for k in (1, None))
    np.testing.assert_array_equal(one.theta, two.theta)
    assert [row._replace(elapsed_s=0) for row in one.rows] == [row._replace(elapsed_s=0) for row in two.rows]
    assert not np.array_equal(one.theta, run(plant, seed=4).theta)


def test_it_goes_on_from_a_controller_and_ends_at_a_goal(plant):
    first = fit_plant(SPEC, plant, LASTING, settings=SETTINGS)
    settings = replace(SETTINGS, goal=first.validation - 1.0)
    second = fit_plant(first.controller, plant, LASTING, settings=settings)
    assert len(second.history) == 1 and second.stopped.endswith("reached")


def test_a_study_goes_on_after_an_interruption(plant, tmp_path):
    """To the same controller, parameters and figures, but for the time it took."""

    def study(folder, stop_after=None, resume=False):
        training = PlantTraining(SPEC, plant, LASTING, SETTINGS, seed=2)
        config = {"task": "swing", "seed": 2, "epochs": SETTINGS.epochs}

        def on_epoch(row):
            if row.epoch == stop_after:
                raise KeyboardInterrupt

        return run_training(
            Plan(training, training.first(), config, folder, resume=resume, on_epoch=on_epoch)
        )  # fmt: skip

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert study(whole).epochs == 6
    assert study(parts, stop_after=2).interrupted
    assert study(parts, stop_after=4, resume=True).interrupted
    result = study(parts, resume=True)
    assert (result.epochs, result.stop_reason) == (6, "all epochs done")
    first, second = (nc.load(folder / "best.npz") for folder in (whole, parts))
    np.testing.assert_array_equal(first.theta, second.theta)
    tables = [np.genfromtxt(folder / "history.csv", delimiter=",", names=True) for folder in (whole, parts)]
    for name in tables[0].dtype.names:
        if name != "elapsed_s":
            np.testing.assert_array_equal(tables[0][name], tables[1][name])


def test_integers_may_be_judged(plant):
    spec = replace(SPEC, input_limits=((-2.0, 2.0),) * 3)
    fitted = fit_plant(spec, plant, LASTING, settings=replace(SETTINGS, epochs=2), fixed_point=FixedPointConfig())
    assert fitted.quantized is not None
    floats = fit_plant(spec, plant, LASTING, settings=replace(SETTINGS, epochs=2))
    assert fitted.validation == pytest.approx(floats.validation, rel=0.02)
    assert fitted.validation != floats.validation


EXPLODING = """
ACTIONS = 2
START = (0.1, 0.2, 0.0, 1.0)
STARTS = ((0.1, 0.9), (0.0, 0.0), (0.0, 0.0), (1.0, 1.0))


def step(x, a, dt_s):
    y = {factor} * x[0] * (1.0 - x[0]) + 0.001 * a[0]
    y = y + 0.002 if y < 0.001 else (y - 0.002 if y > 0.999 else y)
    return y, x[1], x[2] + 0.001 * a[1], x[3]


def observe(x):
    return x[0], x[1], x[2]


def cost(x, a):
    return {cost}


def reward(x, a):
    return -x[1]


def fitness(x, steps, total, recent):
    return total
"""


def test_a_gradient_that_explodes_is_named_and_ppo_with_it(tmp_path):
    """The logistic map doubles a change in every step: the cost's gradient over 40 of them is noise."""
    path = tmp_path / "logistic_map.py"
    path.write_text(EXPLODING.format(factor=4.0, cost="100.0 * x[0]"))
    settings = replace(SETTINGS, epochs=30, horizon=40, growing=0, patience=3)
    fitted = fit_plant(SPEC, path, LASTING, settings=settings)
    assert "the gradient explodes: a norm of " in fitted.stopped and "--method ppo" in fitted.stopped
    assert len(fitted.history) < 30
    path.write_text(EXPLODING.format(factor=-1e9, cost="x[0] * x[0] * x[0]"))
    with pytest.raises(DivergedError, match=r"epoch 1: the gradient explodes: no finite number over 40 steps; .*ppo"):
        fit_plant(SPEC, path, LASTING, settings=settings)


def test_the_command_trains_and_goes_on_after_a_kill(tmp_path):
    arguments = ["train", "gym-pendulum", "--method", "gradient", "--cell", "elman", "--neurons", "4", "--seed", "1"]
    for setting in ("updates=2", "batch=20", "horizon=10", "validation_episodes=5", "epochs=300"):
        arguments += ["--set", setting]
    folder = tmp_path / "killed"
    running = subprocess.Popen(
        [sys.executable, "-m", "neuroctl", *arguments, "--out", str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while running.poll() is None and not (folder / "checkpoint.npz").exists():
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    resumed = neuroctl("train", "gym-pendulum", "--method", "gradient", "--out", str(folder), "--resume", "--json")
    found = json.loads(resumed.stdout)
    assert (found["epochs"], found["stop_reason"]) == (300, "all epochs done")
    neuroctl(*arguments, "--out", str(tmp_path / "whole"))
    assert (folder / "best.npz").read_bytes() == (tmp_path / "whole" / "best.npz").read_bytes()
    (alone,) = groups([folder])
    assert (alone.counted, alone.training) == ("steps", False)
    refused = command("train", "gym-pendulum", "--method", "gradient", "--set", "gamma=1", "--out", str(tmp_path / "x"))
    one_line_error(refused, "setting: 'gamma'; allowed: epochs, updates")
