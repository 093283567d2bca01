"""Quadrotors as compiled plants: against the equations of rigid bodies, and against PyBullet."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.spatial.transform import Rotation

import sims
from neuroctl.backends.plant import load, next_state
from sims.plants import crazyflie, quadrotor, quadrotor_sensed

DT_S = quadrotor.DT_S


def rigid_body(_, s, set_points):
    """Newton's and Euler's equations by vectors and matrices, with numbers of the paper."""
    place, attitude, velocity, omega, rotors = np.split(s, [3, 7, 10, 13])
    inertia = np.diag([3.85e-6, 3.85e-6, 5.9675e-6])
    forces = 0.14883 * rotors**2
    turn = Rotation.from_quat(attitude[[1, 2, 3, 0]])
    places = 0.028 * np.array([(1, -1, 0), (-1, -1, 0), (-1, 1, 0), (1, 1, 0)])
    torque = sum(np.cross(r, (0, 0, f)) for r, f in zip(places, forces, strict=True))
    torque += [0, 0, 0.005964552 * np.dot((-1, 1, -1, 1), forces)]
    w, v = attitude[0], attitude[1:]
    return np.concatenate([
        velocity,
        [-0.5 * v @ omega],
        0.5 * (w * omega + np.cross(v, omega)),
        turn.apply((0, 0, forces.sum())) / 0.027 + (0, 0, -9.81),
        np.linalg.solve(inertia, torque - np.cross(omega, inertia @ omega)),
        (0.5 + 0.5 * np.array(set_points) - rotors) / 0.15,
    ])  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_crazyflie_equals_scipy(seed):
    plant, rng = load(crazyflie), np.random.default_rng(seed)
    x = list(plant.start_of(seed))
    x[3:7] /= np.linalg.norm(x[3:7])
    a = tuple(rng.uniform(-1, 1, 4))
    exact = solve_ivp(rigid_body, (0, 0.2), x, args=(a,), method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    x = tuple(x)
    for _ in range(200):  # steps so short that Runge-Kutta's own error vanishes
        x = next_state(plant, x, a, 0.001)
    np.testing.assert_allclose(x, exact, rtol=0, atol=1e-7)


def test_crazyflie_is_rewarded_for_rest_and_lost_beyond_its_limits():
    rest = crazyflie.START
    assert (crazyflie.reward(rest, (0,) * 4), crazyflie.cost(rest, (0,) * 4), crazyflie.done(rest)) == (1, 0, False)
    for entry, limit in ((0, 2.0), (8, 10.0), (12, 35.0)):
        for size, lost in ((0.99, False), (1.01, True)):
            assert crazyflie.done((*rest[:entry], size * limit, *rest[entry + 1 :])) is lost
    task = sims.get("crazyflie")
    assert len(crazyflie.observe(rest)) == task.inputs
    assert load(crazyflie).critic_observations == task.inputs + 4


@pytest.fixture
def calm(monkeypatch):
    monkeypatch.setattr(quadrotor, "GUST_M_S", (0.0, 0.0, 0.0))


def flown(task, plant, seed, drawn=False):
    """Fly 5 s in PyBullet and as compiled, by the same actions, in no wind; yield what both see and earn."""
    env = sims.make(f"{task},gusts=0,noise=0,latency=0,randomize={0.2 if drawn else 0}").unwrapped
    pilot, rng = sims.baseline(task), np.random.default_rng(seed)
    seen, _ = env.reset(seed=seed)
    pilot.reset()
    x = list(plant.START)
    x[:3] = [a - b for a, b in zip(env._place, env._target, strict=True)]
    x[28:33] = env._drawn if drawn else x[28:33]
    x, over = tuple(x), False
    yield seen, plant.observe(x), 0.0, 0.0, False, False
    for _ in range(600):
        a = np.asarray(pilot.step(seen), float) * 0.6 + rng.uniform(-1, 1, 4) * (0.8 if seed % 2 else 0.0)
        seen, reward, over, _, _ = env.step(a)
        a = quadrotor.limited(a)
        x = (*quadrotor.fly(x, a, a, DT_S), *x[33:])
        yield seen, plant.observe(x), reward, plant.reward(x, a), over, plant.done(x)
        if over:
            break
    env.close()


@pytest.mark.parametrize("seed", range(6))
def test_quadrotor_flies_as_in_pybullet(seed, calm):
    """Calm and wild, for 5 s or until it is lost, within what float32 has of observations."""
    for seen, own, reward, earned, over, lost in flown("quadrotor", quadrotor, seed):
        np.testing.assert_allclose(own, seen, rtol=0, atol=1e-6)
        assert earned == pytest.approx(reward, abs=1e-9)
        assert over == lost


@pytest.mark.parametrize("seed", range(4))
def test_the_sensed_quadrotor_flies_as_in_pybullet_whatever_its_mass_and_inertia(seed, calm):
    for seen, own, reward, earned, over, lost in flown("quadrotor-sensed", quadrotor_sensed, seed, drawn=True):
        np.testing.assert_allclose(own, seen, rtol=0, atol=1e-6)
        assert earned == pytest.approx(reward, abs=1e-9)
        assert over == lost


def test_gusts_are_those_of_pybullet():
    """Standard deviations 1, 1 and 0.3 m/s, and a correlation time of 0.7 s."""
    x, winds = load(quadrotor).start_of(1), []
    for _ in range(20_000):
        x = (*quadrotor.START[:22], *quadrotor.step((*quadrotor.START[:22], *x[22:]), (0.0,) * 4, DT_S)[22:])
        winds.append(x[22:25])
    winds = np.array(winds)
    np.testing.assert_allclose(winds.std(axis=0), quadrotor.GUST_M_S, rtol=0.15)
    later = round(0.7 / DT_S)
    correlation = (winds[later:] * winds[:-later]).mean(axis=0) / winds.var(axis=0)
    np.testing.assert_allclose(correlation, np.exp(-1), atol=0.15)


def test_what_sensors_add():
    """An action takes effect a step later, and each reading is off by noise of its own, of PyBullet's size."""
    plant = load(quadrotor_sensed)
    x, off = plant.start_of(3), []
    assert all(0.8 <= share <= 1.2 for share in x[28:33])
    one, other = quadrotor_sensed.step(x, (1.0,) * 4, DT_S), quadrotor_sensed.step(x, (-1.0,) * 4, DT_S)
    assert one[:17] == other[:17]
    assert quadrotor_sensed.step(one, (0.0,) * 4, DT_S)[9] != quadrotor_sensed.step(other, (0.0,) * 4, DT_S)[9]
    for _ in range(3000):
        x = (*quadrotor.START, *x[33:])[:25] + x[25:]
        x = quadrotor_sensed.step(x, (0.0,) * 4, DT_S)
        true = (*x[:33], *(0.0,) * 9)
        off.append(np.subtract(quadrotor_sensed.observe(x), quadrotor_sensed.observe(true)))
    low, high = np.array(sims.get("quadrotor-sensed").input_limits).T
    sizes = 0.01 * 0.5 * (high - low)  # BulletTask: noise is a share of half the declared range
    np.testing.assert_allclose(np.std(off, axis=0), sizes, rtol=0.06)
    np.testing.assert_allclose(np.mean(off, axis=0), 0, atol=0.08 * sizes.max())
    correlations = np.corrcoef(np.transpose(off)) - np.eye(9)
    assert np.abs(correlations).max() < 0.08


def test_mirrors_have_the_same_interface():
    for name in ("cartpole-compiled", "quadrotor-compiled", "quadrotor-sensed-compiled", "rover-wall-compiled"):
        task = sims.get(name)
        of = sims.get(task.mirrors)
        assert not of.plant
        for field in ("input_names", "input_limits", "output_names", "output_limits", "control_hz"):
            assert getattr(task, field) == getattr(of, field)


def test_a_controller_earns_the_same_in_both():
    """The one that comes with the package, evolved in PyBullet, in gusts of its own in each."""
    ctl = sims.pretrained("quadrotor")
    physics = sims.score("quadrotor", ctl, range(20))
    compiled = sims.score("quadrotor-compiled", ctl, range(20))
    assert compiled.mean() == pytest.approx(physics.mean(), rel=0.01)
    assert compiled.min() > 0.97 * physics.min()


def test_each_craft_in_pybullet_is_another():
    env = sims.make("quadrotor-sensed").unwrapped
    crafts = []
    for seed in (1, 2, 1):
        env.reset(seed=seed)
        info = env._p.getDynamicsInfo(env._body, -1, physicsClientId=env._client)
        crafts.append((info[0] / 0.03, *np.divide(info[2], quadrotor.INERTIA), env._power))
        np.testing.assert_allclose(crafts[-1], env._drawn)
        assert all(0.8 <= share <= 1.2 for share in crafts[-1])
    assert crafts[0] == crafts[2] != crafts[1]
    env.close()


def test_a_teacher_sees_the_true_state_of_the_sensed_quadrotor():
    env = sims.make("quadrotor-sensed").unwrapped
    env.reset(seed=1)
    env.step(np.zeros(4))
    told = env.privileged()
    assert told.shape == (12,)
    np.testing.assert_allclose(told[:3], np.subtract(env._place, env._target), atol=1e-6)
    env.close()
