"""The full state of every robot, hashed after 960 driven steps: in other processes, and from a saved state."""

import copy
import hashlib
import multiprocessing
import struct

import numpy as np
import pytest

import sims

ROBOTS = ["cartpole", "double-pole", "quadruped", "minitaur", "hexapod", "quadrotor", "rover-avoid", "arm"]
STEPS = 960


def digest(env):
    """Return the hash of all places and speeds of all bodies, to the last bit."""
    p, client = env._p, env._client
    values = []
    for index in range(p.getNumBodies(physicsClientId=client)):
        body = p.getBodyUniqueId(index, physicsClientId=client)
        for part in p.getBasePositionAndOrientation(body, physicsClientId=client):
            values += part
        for part in p.getBaseVelocity(body, physicsClientId=client):
            values += part
        for joint in range(p.getNumJoints(body, physicsClientId=client)):
            values += p.getJointState(body, joint, physicsClientId=client)[:2]
    return hashlib.sha256(struct.pack(f"<{len(values)}d", *values)).hexdigest()


def actions(env):
    low, high = env.action_space.low.astype(float), env.action_space.high.astype(float)
    return np.random.default_rng(5).uniform(0.6 * low, 0.6 * high, (STEPS, len(low)))


def driven(name):
    env = sims.make(name).unwrapped
    env.reset(seed=3)
    for action in actions(env):
        env.step(action)
    reached = digest(env)
    env.close()
    return reached


@pytest.fixture(scope="module")
def alone():
    return {name: driven(name) for name in ROBOTS}


def test_robots_end_in_states_of_their_own(alone):
    assert len(set(alone.values())) == len(ROBOTS)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_in_other_processes_whatever_their_number(alone, workers):
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        assert dict(zip(ROBOTS, pool.map(driven, ROBOTS, chunksize=1), strict=True)) == alone


@pytest.mark.parametrize("name", ROBOTS)
def test_the_same_from_a_saved_state(alone, name):
    env = sims.make(name).unwrapped
    env.reset(seed=3)
    path = actions(env)
    for action in path[: STEPS // 2]:
        env.step(action)
    kept = env._p.saveState(physicsClientId=env._client)
    # What a task remembers of its episode, besides what the engine knows.
    plain = (int, float, list, tuple, set, np.ndarray, np.random.Generator)
    fields = copy.deepcopy({key: value for key, value in vars(env).items() if isinstance(value, plain)})
    for _ in range(2):
        env._p.restoreState(stateId=kept, physicsClientId=env._client)
        vars(env).update(copy.deepcopy(fields))
        for action in path[STEPS // 2 :]:
            env.step(action)
        assert digest(env) == alone[name]
    env.close()
