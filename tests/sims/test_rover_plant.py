"""The compiled rover against PyBullet's: the room to the last digit, the car as far as kinematics go."""

import math

import numpy as np
import pytest

import sims
from neuroctl.backends.plant import load
from sims.bullet import rover_wall as room
from sims.bullet.rover import room_for
from sims.plants import rover_wall


@pytest.fixture(scope="module")
def env():
    env = sims.make("rover-wall").unwrapped
    yield env
    env.close()


def put(env, x, seed=0):
    """Reset the environment with the car where a state of the plant has it; return the observation."""
    east, north, c, s = rover_wall.pose(x)

    def place():
        env._last = east, north
        return east, north, math.atan2(s, c)

    env._place = place
    return env.reset(seed=seed)[0]


def middle(env):
    (x, y, _), turned = env._p.getBasePositionAndOrientation(env._body, physicsClientId=env._client)
    heading = env._p.getEulerFromQuaternion(turned)[2]
    return x + 0.17 * math.cos(heading), y + 0.17 * math.sin(heading)


def test_walls_are_the_rooms():
    for k, ((ax, ay), (bx, by)) in enumerate(room._sides()):
        length = math.dist((ax, ay), (bx, by))
        assert (rover_wall.BEGIN_X[k], rover_wall.BEGIN_Y[k]) == (ax, ay)
        assert (rover_wall.ALONG_X[k], rover_wall.ALONG_Y[k]) == ((bx - ax) / length, (by - ay) / length)
        assert rover_wall.LENGTH[k] == pytest.approx(length)


def states(count):
    """Cars that stand anywhere along any wall, headed anywhere."""
    rng = np.random.default_rng(1)
    for k in range(count):
        yield (float(k % 8), rng.uniform(0.1, 0.9), 0.0, rng.uniform(0.1, 1.1), rng.uniform(-3, 3), 0.0, 0.0, 0.0, 0.0)


def test_sensors_and_contacts_are_pybullets(env):
    touching = 0
    for x in states(80):
        seen = put(env, x)
        np.testing.assert_allclose(rover_wall.observe(x), seen, rtol=0, atol=2e-6)
        east, north, c, s = rover_wall.pose(x)
        free_m = room_for(east, north, math.atan2(s, c), room._room_m)
        if abs(free_m) > 1e-9:
            assert rover_wall.done(x) == (free_m < 0)
            touching += free_m < 0
        dx, dy, far = rover_wall.nearest(east, north)
        assert math.dist(room._nearest(east, north), (east, north)) == pytest.approx(far)
    assert 10 < touching < 70


def test_a_seed_starts_where_pybullets_starts_are():
    plant = load(rover_wall)
    walls = set()
    for seed in range(60):
        x = plant.start_of(seed)
        walls.add(x[0])
        east, north, _, _ = rover_wall.pose(x)
        assert 0.45 - 1e-9 <= rover_wall.nearest(east, north)[2] - 0.05 <= 0.75 + 1e-9
        assert not rover_wall.done(x)
    assert walls == set(range(8))


def test_the_car_moves_as_pybullets_and_earns_the_same(env):
    """By the same actions, those of the hand-made controller and a bit of noise: within 3 cm after 1 s, 6 after 2 s."""
    plant, pilot, rng = load(rover_wall), sims.baseline("rover-wall"), np.random.default_rng(3)
    off, earned = {15: [], 30: []}, []
    for seed in range(12):
        x = plant.start_of(seed)
        seen = put(env, x, seed)
        pilot.reset()
        totals = np.zeros(2)
        for t in range(1, 31):
            a = np.asarray(pilot.step(seen), float) + rng.normal(0, 0.1, 2)
            seen, reward, over, _, _ = env.step(a)
            x = rover_wall.step(x, tuple(a), rover_wall.DT_S)
            totals += reward, rover_wall.reward(x, a)
            if t in off:
                off[t].append(math.dist(rover_wall.pose(x)[:2], middle(env)))
            if over:
                break
        earned.append(totals)
    assert np.median(off[15]) < 0.03 and max(off[15]) < 0.1
    assert np.median(off[30]) < 0.06 and max(off[30]) < 0.3
    physics, compiled = np.mean(earned, axis=0)
    assert compiled == pytest.approx(physics, rel=0.1)


def test_the_hand_made_controller_gets_round_here_too():
    plant, pilot, totals = load(rover_wall), sims.baseline("rover-wall"), []
    for seed in range(8):
        x, total = plant.start_of(seed), 0.0
        pilot.reset()
        for _ in range(300):
            a = tuple(float(v) for v in pilot.step(np.array(rover_wall.observe(x), np.float32)))
            x = rover_wall.step(x, a, rover_wall.DT_S)
            total += rover_wall.reward(x, a)
            if rover_wall.done(x):
                break
        totals.append(total)
    assert np.mean(totals) > 5.0
