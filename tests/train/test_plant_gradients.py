"""Gradients through a plant: beside torch's and differences, the same bits for all threads, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.cells import layout
from neuroctl.errors import DivergedError, LayoutError, PlantError, TrainingError
from neuroctl.train.plant_gradients import PlantGradient
from tests.train.cases import CASES, theta_of
from tests.train.plants import plain_cost, starts_of, swing
from tests.train.test_gradients import relative

# Those whose kernels other tests compile too, and one with dense layers.
SIZES = (3, 2)
CHOSEN = {
    name: spec
    for name, spec in CASES.items()
    if (spec.inputs, spec.outputs) == SIZES and ("dense" not in name or name == "gru-dense-limits-scaled")
    and "encoder" not in name
}  # fmt: skip
STEPS, COUNT = 9, 20
SMALL = CASES["elman-tanh"]


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    return swing(tmp_path_factory.mktemp("plants"))


@pytest.mark.parametrize("name", CHOSEN)
def test_equals_torch(name, plant):
    torch = pytest.importorskip("torch", reason="torch is what gradients are compared with")
    from tests.train.plants import torch_cost

    spec, starts = CHOSEN[name], starts_of(plant, COUNT)
    theta = theta_of(spec)
    found = PlantGradient(spec, plant).all_of(theta, starts, STEPS)
    plain, begin = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (theta, starts))
    cost = torch_cost(spec, plain, plant, begin, STEPS)
    cost.backward()
    assert found.cost == pytest.approx(cost.item(), rel=1e-12)
    for block_name, block in layout(spec).blocks.items():
        expected = plain.grad.numpy()[block.part]
        if block.mask is not None:
            expected = expected * np.ravel(block.mask)
        assert relative(found.theta[block.part], expected) < 1e-8, block_name
    assert relative(found.starts, begin.grad.numpy()) < 1e-9


@pytest.mark.parametrize("name", [name for name in CHOSEN if "relu" not in name])
def test_equals_central_differences(name, plant):
    """Of each block of the parameters along a random direction, and of each entry of the state at the start."""
    spec, rng, e = replace(CHOSEN[name], output_limits=None), np.random.default_rng(4), 1e-6
    theta, starts = theta_of(spec), starts_of(plant, 5, seed=3)
    f = PlantGradient(spec, plant)
    found = f.all_of(theta, starts, STEPS)
    for block_name, block in layout(spec).blocks.items():
        along = np.zeros_like(theta)
        along[block.part] = rng.standard_normal(block.size) * (1 if block.mask is None else np.ravel(block.mask))
        difference = (f.cost(theta + e * along, starts, STEPS) - f.cost(theta - e * along, starts, STEPS)) / (2 * e)
        assert abs(difference - found.theta @ along) < 1e-6 * max(np.abs(found.theta).max(), 1e-2), block_name
    for k in range(len(starts)):
        moved = np.zeros_like(starts)
        moved[k] = e
        difference = (f.cost(theta, starts + moved, STEPS) - f.cost(theta, starts - moved, STEPS)) / (2 * e)
        assert abs(difference - found.starts[k].sum()) < 1e-6


@pytest.mark.parametrize("name", ["elman-logistic-limits", "jordan-tanh-limits", "gru-tanh-limits-scaled"])
def test_the_cost_is_that_of_a_controller_in_the_plant(name, plant):
    spec, starts = CHOSEN[name], starts_of(plant, 8)
    theta = theta_of(spec)
    found = PlantGradient(spec, plant).all_of(theta, starts, STEPS)
    cost, lasted = plain_cost(spec, theta, plant, starts, STEPS)
    assert found.cost == pytest.approx(cost, rel=1e-12)
    assert found.steps.tolist() == lasted
    low, high = np.array(spec.output_limits).T[:, None, :, None]
    assert (found.actions >= low).all() and (found.actions <= high).all()


def test_a_plant_with_a_step_of_its_own_and_one_output_at_its_limits(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is what gradients are compared with")
    from tests.train.plants import torch_cost

    plant = swing(tmp_path, by_step=True, name="stepped")
    spec = replace(SMALL, output_limits=((-0.05, 0.05), (0.0, 0.1)), output_activation="identity")
    theta, starts = theta_of(spec), starts_of(plant, COUNT)
    found = PlantGradient(spec, plant).all_of(theta, starts, STEPS)
    at_limits = (found.actions == np.array(spec.output_limits)[:, 0, None]) | (
        found.actions == np.array(spec.output_limits)[:, 1, None]
    )
    assert 0.3 < at_limits.mean() < 1.0
    plain, begin = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (theta, starts))
    torch_cost(spec, plain, plant, begin, STEPS).backward()
    assert relative(found.theta, plain.grad.numpy()) < 1e-9
    assert relative(found.starts, begin.grad.numpy()) < 1e-9


def test_states_are_those_of_a_rollout(plant):
    spec, starts = SMALL, starts_of(plant, 40)
    theta = theta_of(spec)
    found = PlantGradient(spec, plant).all_of(theta, starts, 30)
    episodes = get("cpu").rollout(spec, theta, plant.module.__file__, 30, starts=starts)
    np.testing.assert_array_equal(found.steps, episodes.steps)
    assert found.steps.min() < 30  # some have ended
    np.testing.assert_allclose(found.states[-1], episodes.final, rtol=1e-12)


def test_threads_change_no_bit(plant):
    theta, starts = theta_of(SMALL), starts_of(plant, 100)
    first, second = (PlantGradient(SMALL, plant, threads=k)(theta, starts, 30) for k in (1, None))
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])


def test_a_decay_lets_what_is_far_ahead_count_less(tmp_path):
    """Of one state under one action, whose cost comes at the end, each step between takes its share."""
    path = tmp_path / "line.py"
    path.write_text(
        "ACTIONS = 2\nSTART = (0.0, 0.0, 0.0)\n\n\ndef step(x, a, dt_s):\n"
        "    return x[0] + a[0], x[1] + 1.0, x[2]\n\n\ndef observe(x):\n    return x[1], x[2], x[2]\n\n\n"
        "def cost(x, a):\n    return x[0] if x[1] > 3.5 else 0.0\n\n\n"
        "def fitness(x, steps, total, recent):\n    return total\n"
    )
    f, slow = PlantGradient(SMALL, path), PlantGradient(SMALL, path, decay=0.5)
    theta = theta_of(SMALL)
    b_out = layout(SMALL)["b_out"].part
    assert f(theta, None, 4)[1][b_out][0] == pytest.approx(1.0)  # of 4 actions, over 4 steps
    assert slow(theta, None, 4)[1][b_out][0] == pytest.approx((1 + 0.5 + 0.25 + 0.125) / 4)
    assert slow(theta, None, 4)[0] == f(theta, None, 4)[0]
    with pytest.raises(TrainingError, match="decay: 0; allowed: above 0, up to 1"):
        PlantGradient(SMALL, path, decay=0)


def test_lanes_do_not_touch_each_other(plant):
    """A start among others has the change of one alone, and the mean of all is the mean of each."""
    theta, starts = theta_of(SMALL), starts_of(plant, 17)
    f = PlantGradient(SMALL, plant)
    found = f.all_of(theta, starts, STEPS)
    alone = [f.all_of(theta, start, STEPS) for start in starts.T]
    assert found.cost == pytest.approx(np.mean([each.cost for each in alone]), rel=1e-13)
    np.testing.assert_allclose(found.theta, np.mean([each.theta for each in alone], axis=0), rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(found.starts * 17, np.hstack([each.starts for each in alone]), rtol=1e-11, atol=1e-15)


def test_a_reward_counts_with_minus(tmp_path, plant):
    text = plant.source.replace("def cost(x, a):\n    return ", "def reward(x, a):\n    return -1.0 * (")
    path = tmp_path / "rewarded.py"
    path.write_text(text.replace("a[0] * a[0]\n", "a[0] * a[0])\n"))
    theta, starts = theta_of(SMALL), starts_of(plant, 6)
    (value, change), (cost, exact) = (PlantGradient(SMALL, each)(theta, starts, STEPS) for each in (path, plant))
    assert value == pytest.approx(cost, rel=1e-14)
    np.testing.assert_allclose(change, exact, rtol=1e-10, atol=1e-14)


def test_float32(plant):
    """Within rounding of float64, and the same bits as the plant's own start without one."""
    spec = replace(SMALL, dtype="float32")
    theta, starts = theta_of(spec), starts_of(plant, 64)
    f = PlantGradient(spec, plant)
    value, change = f(theta, starts, 30)
    exact, exact_change = PlantGradient(SMALL, plant)(theta.astype(np.float64), starts.astype(np.float32), 30)
    assert value == pytest.approx(exact, rel=1e-5)
    assert relative(change, exact_change) < 1e-4
    assert f(theta, None, STEPS)[0] == f(theta, np.array(plant.start), STEPS)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"theta": np.zeros(3)}, "theta: shape"),
        ({"starts": np.zeros(3)}, "starts: shape"),
        ({"starts": np.full(4, np.nan)}, "starts"),
        ({"steps": 0}, "steps: 0; allowed"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message, plant):
    given = {"theta": theta_of(SMALL), "starts": None, "steps": 3} | arguments
    with pytest.raises(LayoutError, match=message):
        PlantGradient(SMALL, plant)(**given)


def test_parameters_of_many_are_refused(plant):
    theta = np.ascontiguousarray(np.repeat(theta_of(SMALL)[:, None], 3, axis=1))
    with pytest.raises(TrainingError, match="theta: shape"):
        PlantGradient(SMALL, plant)(theta, None, 3)


def test_plants_that_do_not_fit_are_refused(tmp_path, plant):
    with pytest.raises(PlantError, match="3 inputs"):
        PlantGradient(nc.Spec(cell="elman", inputs=2, neurons=3, outputs=2, dt_s=0.1), plant)
    path = tmp_path / "costless.py"
    path.write_text(plant.source.replace("def cost(", "def price("))
    with pytest.raises(PlantError, match=r"costless.cost: missing; allowed for a gradient: cost\(x, a\), or reward"):
        PlantGradient(SMALL, path)
    path = tmp_path / "looping.py"
    path.write_text(plant.source.replace("    push = a[0] - 0.5 * a[-1]", "    push = [a[0]][0]"))
    with pytest.raises(
        PlantError, match=r"looping.slope: a list in 'push = \[a\[0\]\]\[0\]' .*looping.py:\d+\); allowed"
    ):
        PlantGradient(SMALL, path)


def test_what_grows_beyond_all_bounds_is_refused(tmp_path, plant):
    path = tmp_path / "growing.py"
    text = plant.source.replace("x[0] * x[1] - x[2]", "900.0 * x[2]").replace("math.log1p(", "(1e300 * ")
    path.write_text(text.replace("abs(x[0]) > 0.7", "False"))
    with pytest.raises(DivergedError, match=r"from start \d+; allowed: finite numbers"):
        PlantGradient(SMALL, path)(theta_of(SMALL), starts_of(plant, 4), 400)
