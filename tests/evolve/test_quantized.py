"""Studies that evaluate the integer controllers."""

import dataclasses

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import StudyError
from neuroctl.evolve import FixedPoint, run_study
from neuroctl.evolve.quantized import InFixedPoint
from tests.evolve.objectives import Recorded
from tests.evolve.study_script import SPEC, config

LIMITED = dataclasses.replace(SPEC, input_limits=((-2.0, 2.0),) * SPEC.inputs)


class Kind:
    """Notes what it was given, and returns how far the last output is from a goal."""

    def __init__(self):
        self.kinds = []

    def __call__(self, controller, seed):
        self.kinds.append(type(controller))
        rng = np.random.default_rng(seed)
        u = rng.uniform(-1, 1, (20, controller.spec.inputs)).astype(np.float32)
        controller.reset()
        return -float(np.abs(controller.rollout(u)[-1] - 0.3).sum())


def test_the_objective_sees_integer_controllers(tmp_path):
    seen = Kind()
    asked = dataclasses.replace(config(), spec=LIMITED, generations=3, fixed_point=FixedPoint(8))
    result = run_study(asked, seen, tmp_path / "study")
    assert set(seen.kinds) == {nc.QuantController}
    best = nc.load(tmp_path / "study" / "best.npz")
    fixed = nc.load(tmp_path / "study" / "best-fixed.npz")
    assert best.quantize(weight_bits=8).model_crc32 == fixed.model_crc32
    assert result.best_score is not None


def test_a_study_with_workers_is_resumed(tmp_path):
    """A resumed study shows its best controller to the objective before its workers get the objective."""
    asked = dataclasses.replace(config(), spec=LIMITED, generations=2, fixed_point=FixedPoint())
    run_study(asked, Recorded(), tmp_path / "study", workers=2)
    longer = dataclasses.replace(asked, generations=3)
    assert run_study(longer, Recorded(), tmp_path / "study", workers=2, resume=True).generations == 3


def test_a_controller_without_an_integer_form_is_nan():
    ctl = nc.Controller(LIMITED, seed=0)
    ctl.params["W"][:] = 1e9
    assert np.isnan(InFixedPoint(Kind(), FixedPoint())(ctl, 0))
    ctl.params["W"][:] = 1.0
    assert np.isfinite(InFixedPoint(Kind(), FixedPoint())(ctl, 0))


@pytest.mark.parametrize("bits", [(12, 32), (16, 8), (True, 32)])
def test_bad_storage_is_refused(bits):
    with pytest.raises(StudyError, match="_bits: .*; allowed: "):
        FixedPoint(*bits)
    with pytest.raises(StudyError, match="fixed_point: 8; allowed: a FixedPoint, or None"):
        dataclasses.replace(config(), fixed_point=8)
