"""Hand-made controllers are copied as networks are."""

import copy
import pickle

import numpy as np
import pytest

import sims
from sims.disturb import Disturbed

NAMES = [name for name in sims.names() if not sims.get(name).plant]


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda ctl: pickle.loads(pickle.dumps(ctl))])
@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_equal_and_independent(way, name):
    ctl = sims.baseline(name)
    rng = np.random.default_rng(1)
    us = rng.uniform(-1, 1, (12, ctl.spec.inputs)).astype(np.float32)
    for u in us[:4]:
        ctl.step(u)
    twin = way(ctl)
    y = ctl.step(us[4]).copy()
    ahead = [np.array(twin.step(u)) for u in us[4:]]
    assert (y == ahead[0]).all()
    assert [np.array(ctl.step(u)).tolist() for u in us[5:]] == [a.tolist() for a in ahead[1:]]
    for name, value in vars(twin).items():
        assert not isinstance(value, (np.ndarray, list)) or value is not vars(ctl)[name]


def test_a_disturbed_controller():
    ctl = Disturbed(sims.pretrained("cartpole"), ((-1, 1), (-1, 1)), noise=0.1, latency=2)
    us = np.random.default_rng(1).uniform(-1, 1, (9, 2)).astype(np.float32)
    for u in us[:4]:
        ctl.step(u)
    twin = copy.copy(ctl)
    ahead = [np.array(twin.step(u)) for u in us[4:]]
    assert [np.array(ctl.step(u)).tolist() for u in us[4:]] == [a.tolist() for a in ahead]
