"""Gradients of a plant under given actions: beside differences, and what they are for."""

import re

import numpy as np
import pytest

from neuroctl.backends.plant import next_state
from neuroctl.errors import DivergedError, LayoutError, PlantError, TrainingError
from neuroctl.train.action_gradients import ActionGradient
from neuroctl.train.optim import Adam
from tests.train.plants import starts_of, swing

DT_S, STEPS = 0.1, 8


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    return swing(tmp_path_factory.mktemp("plants"))


@pytest.fixture(scope="module")
def f(plant):
    return ActionGradient(plant, DT_S)


def episodes(plant, count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(STEPS, 2, count)), starts_of(plant, count, seed), rng.normal(size=(STEPS, 3, count))


def plain(plant, actions, starts, observed=None):
    """Return the cost in plain Python, and all states of the episodes."""
    steps, _, count = actions.shape
    total, states = 0.0, np.empty((steps + 1, len(starts), count))
    for b in range(count):
        x, over, cost = tuple(starts[:, b].tolist()), False, 0.0
        states[0, :, b] = x
        for t in range(steps):
            a = tuple(actions[t, :, b].tolist())
            if not over:
                x = next_state(plant, x, a, DT_S)
                cost, over = plant.module.cost(x, a), plant.module.done(x)
            states[t + 1, :, b] = x
            shown = np.array(plant.module.observe(x))
            total += cost if observed is None else np.nansum((shown - observed[t, :, b]) ** 2)
    return total / (steps * count if observed is None else np.isfinite(observed).sum()), states


@pytest.mark.parametrize("recorded", [False, True])
def test_equals_central_differences(recorded, plant, f):
    actions, starts, observed = episodes(plant, 19)
    observed[3:5, 1, ::2] = np.nan
    observed = observed if recorded else None
    found = f.all_of(actions, starts, observed=observed)
    cost, states = plain(plant, actions, starts, observed)
    assert found.cost == pytest.approx(cost, rel=1e-12)
    np.testing.assert_allclose(found.states, states, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.observations[2, :, 4], plant.module.observe(tuple(states[3, :, 4])), rtol=1e-12)
    rng, e = np.random.default_rng(5), 1e-6
    for change, name in ((found.actions, "actions"), (found.starts, "starts")):
        for _ in range(6):
            along = rng.normal(size=change.shape)
            given = {"actions": actions, "starts": starts}
            ahead, behind = (
                f.all_of(**given | {name: given[name] + by * along}, observed=observed).cost for by in (e, -e)
            )
            assert abs((ahead - behind) / (2 * e) - (change * along).sum()) < 1e-6


def test_one_sequence_of_actions_for_all_starts(plant, f):
    actions, starts, _ = episodes(plant, 5)
    cost, change = f(actions[:, :, 0], starts)
    repeated = np.repeat(actions[:, :, :1], 5, axis=2)
    assert (cost, change.shape) == (f(repeated, starts)[0], (STEPS, 2))
    np.testing.assert_allclose(change, f(repeated, starts)[1].sum(axis=2), rtol=1e-13)


def test_threads_change_no_bit(plant):
    actions, starts, _ = episodes(plant, 70)
    one, two = (ActionGradient(plant, DT_S, threads=k).all_of(actions, starts) for k in (1, None))
    assert one.cost == two.cost
    np.testing.assert_array_equal(one.actions, two.actions)


def test_a_trajectory_is_optimized(plant, f):
    """From 0.6 rad the swing comes to rest with actions found along the gradient."""
    start, actions, adam = np.array([0.6, 0.0, 0.2, 1.0]), np.zeros((30, 2)), Adam()
    state, first = adam.begin(actions), f(actions, start)[0]
    for k in range(150):
        cost, change = f(actions, start)
        actions, state = adam.step(actions, change, state, k + 1, 0.1)
    assert cost < 0.5 * first


def test_a_parameter_of_the_plant_is_identified(plant, f):
    """A stiffness of 1.3 is found from what was observed, with noise and gaps, starting at 0.7."""
    rng = np.random.default_rng(2)
    actions, start = 0.3 * rng.normal(size=(60, 2)), np.array([0.3, 0.0, 0.0, 1.3])
    observed = f.all_of(actions, start).observations[:, :, 0] + 0.005 * rng.normal(size=(60, 3))
    observed[rng.random((60, 3)) < 0.2] = np.nan
    guess, adam = np.array([0.3, 0.0, 0.0, 0.7]), Adam()
    state = adam.begin(guess)
    for k in range(200):
        change = f.all_of(actions, guess, observed=observed).starts[:, 0] * (0, 0, 0, 1)
        guess, state = adam.step(guess, change, state, k + 1, 0.03)
    assert abs(guess[3] - 1.3) < 0.02


def test_float32(plant, f):
    actions, starts, observed = episodes(plant, 40)
    exact, found = (
        g.all_of(actions, starts, observed=observed) for g in (f, ActionGradient(plant, 0.1, dtype="float32"))
    )
    assert found.cost == pytest.approx(exact.cost, rel=1e-5)
    np.testing.assert_allclose(found.actions, exact.actions, rtol=0, atol=1e-4 * np.abs(exact.actions).max())
    assert found.actions.dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"actions": np.zeros((4, 3))}, TrainingError, "actions: shape (4, 3); allowed: (T, 2) or (T, 2, B)"),
        ({"actions": np.full((4, 2), np.nan)}, TrainingError, "actions: NaN or Inf"),
        ({"observed": np.zeros((5, 3))}, TrainingError, "as many episodes and steps in each"),
        ({"observed": np.full((4, 3), np.nan)}, TrainingError, "observed: no finite number"),
        ({"starts": np.zeros((4, 7)), "observed": np.zeros((4, 3, 2))}, TrainingError, "as many episodes"),
        ({"starts": np.zeros(3)}, LayoutError, "starts: shape"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, error, message, f):
    with pytest.raises(error, match=re.escape(message)):
        f(**{"actions": np.zeros((4, 2))} | arguments)


def test_plants_without_a_cost_take_recordings_only(tmp_path, plant):
    path = tmp_path / "costless.py"
    path.write_text(plant.source.replace("def cost(", "def price("))
    g = ActionGradient(path, DT_S)
    with pytest.raises(PlantError, match="costless.cost: missing"):
        g(np.zeros((4, 2)))
    assert g(np.zeros((4, 2)), observed=np.zeros((4, 3)))[0] > 0


def test_time_steps_are_checked(plant):
    with pytest.raises(TrainingError, match="dt_s: None; allowed for swing: seconds above 0"):
        ActionGradient(plant)
    with pytest.raises(TrainingError, match="dt_s: -1"):
        ActionGradient(plant, -1)
    with pytest.raises(TrainingError, match="dtype: 'float16'"):
        ActionGradient(plant, DT_S, dtype="float16")


def test_what_grows_beyond_all_bounds_is_refused(tmp_path, plant):
    path = tmp_path / "growing.py"
    path.write_text(plant.source.replace("x[0] * x[1] - x[2]", "900.0 * x[2]").replace("abs(x[0]) > 0.7", "False"))
    with pytest.raises(DivergedError, match="allowed: finite costs and changes"):
        ActionGradient(path, DT_S)(np.zeros((400, 2)))
