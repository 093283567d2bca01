"""Quadrotors as compiled plants: against the equations of rigid bodies, and against PyBullet."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.spatial.transform import Rotation

import sims
from neuroctl.backends.plant import load, next_state
from sims.plants import crazyflie


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
