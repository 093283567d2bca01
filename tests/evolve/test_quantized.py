"""Studies that evaluate the integer controllers."""

import dataclasses

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import StudyError
from neuroctl.evolve import FixedPointConfig, run_study
from neuroctl.evolve.quantized import QuantizedObjective
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
    objective = Kind()
    asked = dataclasses.replace(config(), spec=LIMITED, generations=3, fixed_point=FixedPointConfig(8))
    result = run_study(asked, objective, tmp_path / "study")
    assert set(objective.kinds) == {nc.QuantController}
    best = nc.load(tmp_path / "study" / "best.npz")
    fixed = nc.load(tmp_path / "study" / "best-fixed.npz")
    assert best.quantize(weight_bits=8).model_crc32 == fixed.model_crc32
    assert result.best_score is not None


def test_a_study_with_workers_is_resumed(tmp_path):
    """A resumed study shows its best controller to the objective before its workers get the objective."""
    asked = dataclasses.replace(config(), spec=LIMITED, generations=2, fixed_point=FixedPointConfig())
    run_study(asked, Recorded(), tmp_path / "study", workers=2)
    longer = dataclasses.replace(asked, generations=3)
    assert run_study(longer, Recorded(), tmp_path / "study", workers=2, resume=True).generations == 3


def test_a_controller_without_an_integer_form_is_nan():
    ctl = nc.Controller(LIMITED, seed=0)
    ctl.params["W"][:] = 1e9
    assert np.isnan(QuantizedObjective(Kind(), FixedPointConfig())(ctl, 0))
    ctl.params["W"][:] = 1.0
    assert np.isfinite(QuantizedObjective(Kind(), FixedPointConfig())(ctl, 0))


class Batch(Kind):
    """The same objective for whole populations, noting how large they were."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def batch(self, spec, theta, seeds, threads):
        raise AssertionError("a study in fixed point has no use for float controllers")

    def batch_quantized(self, controllers, seeds, threads):
        self.sizes.append(len(controllers))
        return [[self(controller, seed) for seed in seeds] for controller in controllers]


def test_populations_go_to_the_integer_batch():
    theta = np.array([nc.Controller(LIMITED, seed=seed).theta for seed in range(5)])
    theta[3, 0] = 1e9
    objective = Batch()
    batch = QuantizedObjective(objective, FixedPointConfig(8)).batch(LIMITED, theta, [1, 2], 1)
    assert objective.sizes == [4] and batch.shape == (5, 2) and np.isnan(batch[3]).all()
    alone = QuantizedObjective(Kind(), FixedPointConfig(8))
    for row, values in zip(theta, batch, strict=True):
        np.testing.assert_array_equal(values, [alone(nc.Controller(LIMITED, row), seed) for seed in (1, 2)])
    none = QuantizedObjective(objective, FixedPointConfig()).batch(LIMITED, theta[3:4], [1], 1)
    assert np.isnan(none).all() and none.size == 1
    assert not hasattr(alone, "batch")


def test_a_study_of_batches_equals_one_by_one(tmp_path):
    """The bits of a study do not depend on how its controllers were quantized."""
    asked = dataclasses.replace(config(), spec=LIMITED, generations=3, fixed_point=FixedPointConfig())
    folders = [tmp_path / "alone", tmp_path / "batch"]
    for objective, folder in zip((Kind(), Batch()), folders, strict=True):
        run_study(asked, objective, folder)
    best = [nc.load(folder / "best-fixed.npz").model_crc32 for folder in folders]
    assert best[0] == best[1]


@pytest.mark.parametrize("bits", [(12, 32), (16, 8), (True, 32)])
def test_bad_storage_is_refused(bits):
    with pytest.raises(StudyError, match="_bits: .*; allowed: "):
        FixedPointConfig(*bits)
    with pytest.raises(StudyError, match="fixed_point: 8; allowed: a FixedPointConfig, or None"):
        dataclasses.replace(config(), fixed_point=8)
