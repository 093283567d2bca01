"""Cart-pole against the textbook: the equations of motion, integrated by SciPy in float64."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sims.bullet.base import GRAVITY_M_S2
from sims.bullet.cartpole import CartPole

CART_KG, POLE_KG, POLE_M = 1.0, 0.1, 1.0
FORCES_N = (3.0, -4.0, 1.0, -2.0, 0.5, -6.0)
HOLD_STEPS = 5  # control steps for which each of them is held
START = (0.3, 0.1, -0.2, 0.15)


def motion(_time_s, state, force_n):
    """Lagrange's equations of a frictionless cart-pole; the pole is a thin rod, the angle is 0 upright."""
    _, angle, velocity, rate = state
    half = POLE_M / 2
    inertia = POLE_KG * POLE_M**2 / 12
    mass = [
        [CART_KG + POLE_KG, POLE_KG * half * np.cos(angle)],
        [POLE_KG * half * np.cos(angle), inertia + POLE_KG * half**2],
    ]
    load = [
        force_n + POLE_KG * half * rate**2 * np.sin(angle),
        POLE_KG * GRAVITY_M_S2 * half * np.sin(angle),
    ]
    return [velocity, rate, *np.linalg.solve(mass, load)]


def textbook(control_hz=60):
    state = np.array(START)
    for force_n in FORCES_N:
        span = (0.0, HOLD_STEPS / control_hz)
        state = solve_ivp(motion, span, state, args=(force_n,), rtol=1e-11, atol=1e-12).y[:, -1]
    return state


def simulated(physics_hz):
    env = type("FinerCartPole", (CartPole,), {"physics_hz": physics_hz})()
    env.reset(options={"start": START})
    for force_n in np.repeat(FORCES_N, HOLD_STEPS):
        env.step([force_n])
    joints = env._p.getJointStates(env._body, env._sensed, physicsClientId=env._client)
    env.close()
    (position, velocity, *_), (angle, rate, *_) = joints
    return np.array([position, angle, velocity, rate])


def test_half_a_second_follows_the_textbook():
    assert np.abs(simulated(240) - textbook()).max() < 0.02


def test_error_is_first_order_in_the_physics_step_and_nothing_else():
    coarse, medium, fine, exact = simulated(240), simulated(480), simulated(960), textbook()
    np.testing.assert_allclose((coarse - exact) / (medium - exact), 2.0, rtol=0.1)
    # Richardson: what remains at a step of zero is an error in the model, such as a wrong inertia.
    assert np.abs((8 * fine - 6 * medium + coarse) / 3 - exact).max() < 2e-5


def after(steps, start, force_n):
    env = CartPole()
    env.reset(options={"start": start})
    for _ in range(steps):
        observation, *_ = env.step([force_n])
    env.close()
    return observation


@pytest.mark.parametrize("sign", [1, -1])
def test_a_leaning_pole_falls_to_its_side_and_kicks_the_cart_back(sign):
    position, angle = after(20, (0, 0.05 * sign, 0, 0), 0.0)
    assert angle * sign > 0.06
    assert position * sign < 0


@pytest.mark.parametrize("sign", [1, -1])
def test_a_push_moves_the_cart_its_way_and_tips_the_pole_back(sign):
    position, angle = after(5, (0, 0, 0, 0), 5.0 * sign)
    assert position * sign > 0
    assert angle * sign < 0


def test_nothing_moves_without_a_cause():
    position, angle = after(600, (0.5, 0, 0, 0), 0.0)
    assert position == np.float32(0.5)
    assert angle == 0


def test_cart_rolls_without_friction():
    position, _ = after(60, (0, 0, 0.5, 0), 0.0)
    assert position == pytest.approx(0.5, abs=1e-6)


def test_a_force_is_held_for_the_control_step_and_not_longer():
    env = CartPole()
    env.reset(options={"start": (0, 0, 0, 0)})
    env.step([10.0])
    pushed = env._p.getJointState(env._body, env._slider, physicsClientId=env._client)[1]
    before = env.step([0.0])[0][0]
    drift = [env.step([0.0])[0][0] for _ in range(2)]
    env.close()
    # m a = F with the pole at rest upright: a = F / (M + m / 4) for a thin rod.
    assert pushed == pytest.approx(10.0 / (CART_KG + POLE_KG / 4) / 60, rel=0.02)
    assert drift[1] - drift[0] == pytest.approx(drift[0] - before, rel=0.02)
