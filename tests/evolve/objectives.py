"""Objectives that are cheap, and some that misbehave. Workers import them by name."""

import os
import signal
import time
from pathlib import Path

import numpy as np

import neuroctl as nc
from neuroctl.evolve import Genome


def follow(controller, seed):
    """Minus the squared distance of the outputs from the inputs' mean, over a short random sequence."""
    inputs = np.random.default_rng(seed).uniform(-1, 1, (20, controller.spec.inputs))
    return -float(((controller.rollout(inputs) - inputs.mean(axis=1, keepdims=True)) ** 2).mean())


def slow(controller, seed):
    time.sleep(0.01)
    return follow(controller, seed)


def nan(controller, seed):
    return float("nan") if seed % 2 else follow(controller, seed)


def always_infinite(controller, seed):
    return float("-inf")


def always_nan(controller, seed):
    return float("nan")


def raises(controller, seed):
    raise RuntimeError("the robot\nfell off the table")


def text(controller, seed):
    return "good"


class Recorded:
    """An objective that shows its inputs, for fixed point."""

    def __call__(self, controller, seed):
        return follow(controller, seed)

    def observations(self, controller, seed):
        return np.full((3, controller.spec.inputs), 0.5, np.float32)


class DiesOnce:
    """Kills its worker process, without a word, the first time each of some files can be removed."""

    def __init__(self, folder, times):
        self.files = [Path(folder) / f"die-{i}" for i in range(times)]
        for file in self.files:
            file.write_text("")

    def __call__(self, controller, seed):
        for file in self.files:
            try:
                file.unlink()
            except FileNotFoundError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        return follow(controller, seed)


def dies(controller, seed):
    os._exit(3)


def number_as_text(controller, seed):
    return "3"


def leaves(controller, seed):
    raise SystemExit(3)


def infinite(controller, seed):
    """Return infinities whose mean is NaN, for some candidates; the others have a score."""
    if controller.theta[0] > 0:
        return float(controller.theta[0])
    return float("inf") if seed % 2 else float("-inf")


def threads(controller, seed):
    return float(os.environ["OMP_NUM_THREADS"])


class DiesAt:
    """Kills its process at one seed."""

    def __init__(self, seed):
        self.seed = seed

    def __call__(self, controller, seed):
        if seed == self.seed:
            os._exit(3)
        return follow(controller, seed)


class Closing:
    """An objective that holds something to be freed."""

    closed = False

    def __call__(self, controller, seed):
        return follow(controller, seed)

    def close(self):
        self.closed = True


class Blind(Recorded):
    """An objective that fails to show its inputs."""

    def observations(self, controller, seed):
        raise RuntimeError("no camera")


def near_rest(controller, seed):
    """Best where all genes are 0, the search's first middle."""
    genome = Genome(controller.spec)
    return -float(np.abs(controller.theta - genome.theta(np.zeros(genome.size))).sum())


class HangsOnce:
    """Hangs for good the first time that some file can be removed."""

    def __init__(self, folder):
        self.file = Path(folder) / "hang"
        self.file.write_text("")

    def __call__(self, controller, seed):
        try:
            self.file.unlink()
        except FileNotFoundError:
            return follow(controller, seed)
        while True:
            time.sleep(1)


def hangs(controller, seed):
    while seed == 2:
        time.sleep(1)
    return follow(controller, seed)


def measured(controller, seed):
    """The fitness, and two of the parameters as measures."""
    return follow(controller, seed), float(controller.theta[0]), float(controller.theta[1])


class Batched:
    """The same values for a whole population at once."""

    def __call__(self, controller, seed):
        raise AssertionError("a batch is asked for")

    def batch(self, spec, theta, seeds, threads):
        return np.array([[follow(nc.Controller(spec, row), seed) for seed in seeds] for row in theta])


class BadBatch:
    def __init__(self, values):
        self.values = values

    def __call__(self, controller, seed):
        return 0.0

    def batch(self, spec, theta, seeds, threads):
        if isinstance(self.values, str):
            raise RuntimeError(self.values)
        return self.values


def plateau(controller, seed):
    """Nearly flat, so that a search soon stagnates."""
    return float(np.round(follow(controller, 0), 1))


def three_legs(controller, seed):
    u = np.random.default_rng(seed).uniform(-1, 1, (20, 3)).astype(np.float32)
    return -float(((controller.rollout(u) - u) ** 2).mean())


three_legs.spec = {"inputs": 3, "outputs": 3, "dt_s": 0.05, "output_limits": [[-1, 1]] * 3}


def slow_legs(controller, seed):
    time.sleep(0.02)
    return three_legs(controller, seed)


slow_legs.spec = three_legs.spec


def first_weight(controller, seed):
    """How near the first parameter is to 0.3: no sums, so the same bits on every machine."""
    return -abs(float(controller.theta[0]) - 0.3)


def nothing(controller, seed):
    follow(controller, seed)


def several(controller, seed):
    return np.zeros(3)


def one_in_an_array(controller, seed):
    return np.array([follow(controller, seed)])


def wrong_input(controller, seed):
    return float(controller.step(np.zeros(9, np.float32))[0])


def ignores_its_seed(controller, seed):
    return float(np.random.default_rng().random())


class Statistics:
    """Scales its inputs by what it saw in all episodes so far, as NormalizeObservation does."""

    def __init__(self):
        self.largest = 0.0

    def __call__(self, controller, seed):
        inputs = np.random.default_rng(seed).uniform(-1, 1, (20, controller.spec.inputs))
        self.largest = max(self.largest + 0.01, float(np.abs(inputs).max()))
        return -float(((controller.rollout(inputs / self.largest) - inputs.mean()) ** 2).mean())


class BatchedAnew(Batched):
    """Draws the starts of each call anew."""

    def batch(self, spec, theta, seeds, threads):
        return np.random.default_rng().random((len(theta), len(seeds)))


def coarse(controller, seed):
    """One input between limits so close that fixed point has no steps for it."""
    return float(controller.step(np.zeros(2, np.float32))[0])


coarse.spec = {"inputs": 2, "outputs": 1, "dt_s": 0.05, "input_limits": [[1000, 1000.01], [-1000, 1000]]}


def unequal(controller, seed):
    """One input is narrow beside the other: in fixed point each has its own format."""
    return float(controller.step(np.array([0.01, 500.0], np.float32))[0])


unequal.spec = {"inputs": 2, "outputs": 1, "dt_s": 0.05, "input_limits": [[-0.01, 0.01], [-1000, 1000]]}
