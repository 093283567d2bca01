import numpy as np
import pytest

from neuroctl.evolve import OPTIMIZERS
from neuroctl.evolve.cmaes import ranked


def make(name, size=6, seed=1, population=12, sigma0=0.5):
    return OPTIMIZERS[name](size, seed, population, sigma0)


def rosenbrock(x):
    return -float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def sphere(x):
    return -float(((x - 0.7) ** 2).sum())


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("function", "generations", "goal"), [(sphere, 120, 1e-9), (rosenbrock, 400, 1e-6)])
def test_solves_the_classics(name, function, generations, goal):
    optimizer = make(name)
    for _ in range(generations):
        optimizer.tell(np.array([function(x) for x in optimizer.ask()]))
    assert function(optimizer.mean) > -goal


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("size", [6, 40, 105])
def test_replay_gives_the_same_bits(name, size):
    first, told = make(name, size), []
    asked = []
    for _ in range(40):
        genomes = first.ask()
        asked.append(genomes)
        told.append(np.array([sphere(x) for x in genomes]))
        first.tell(told[-1])
    again = make(name, size)
    for genomes, fitness in zip(asked, told, strict=True):
        assert again.ask().tobytes() == genomes.tobytes()
        again.tell(fitness)
    assert again.ask().tobytes() == first.ask().tobytes()
    assert make(name, size, seed=2).ask().tobytes() != asked[0].tobytes()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_global_generator_is_left_alone(name, capfd):
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].tobytes()  # noqa: NPY002
    optimizer = make(name)
    optimizer.tell(np.array([sphere(x) for x in optimizer.ask()]))
    optimizer.stop()
    assert np.random.get_state()[1].tobytes() == before  # noqa: NPY002
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nan_ranks_last_and_flat_fitness_does_no_harm(name):
    optimizer = make(name)
    for fitness in (np.full(12, np.nan), np.full(12, 1000.0), np.array([np.nan, np.inf, -np.inf, *range(9)])):
        optimizer.ask()
        optimizer.tell(fitness)
    assert np.isfinite(optimizer.mean).all()
    assert np.isfinite(optimizer.sigma)


def test_ranked_keeps_the_order():
    values = ranked(np.array([1.0, np.nan, np.inf, -3.0, -np.inf]))
    assert values[0] == 1.0
    assert values[3] == -3.0
    assert values[2] > 1.0
    assert values[1] == values[4] < -3.0
    assert ranked(np.array([np.nan, np.nan])) == [-1.0, -1.0]
