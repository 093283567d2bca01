import numpy as np
import pytest

from neuroctl.errors import StudyError
from neuroctl.evolve import MULTI_OBJECTIVE_OPTIMIZERS, OPTIMIZERS, Measure, make_optimizer
from neuroctl.evolve.cmaes import replace_non_finite


def make(name, size=6, seed=1, population=12, sigma0=0.5):
    return OPTIMIZERS[name](size, seed, population, sigma0)


def rosenbrock(x):
    return -float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def sphere(x):
    return -float(((x - 0.7) ** 2).sum())


def ellipsoid(x):
    return -float((10.0 ** np.linspace(0, 3, len(x)) * (x - 0.3) ** 2).sum())


def rastrigin(x):
    return -float(10 * len(x) + ((x - 0.5) ** 2 - 10 * np.cos(2 * np.pi * (x - 0.5))).sum())


# The fixed width of OpenAI's strategy, and the luck of random search, bound how near they come.
GOALS = {
    "cmaes": {sphere: (120, 1e-9), rosenbrock: (400, 1e-6), ellipsoid: (250, 1e-6)},
    "sep-cmaes": {sphere: (120, 1e-9), ellipsoid: (250, 1e-6)},
    "ipop": {sphere: (120, 1e-9), rosenbrock: (400, 1e-6), rastrigin: (1200, 1e-6)},
    "bipop": {sphere: (120, 1e-9), ellipsoid: (250, 1e-6), rastrigin: (3500, 1e-6)},
    "snes": {sphere: (250, 1e-9), ellipsoid: (500, 1e-6)},
    "xnes": {sphere: (250, 1e-9), rosenbrock: (1200, 1e-6), ellipsoid: (500, 1e-6)},
    "openai-es": {sphere: (300, 0.05), ellipsoid: (600, 2.0)},
    "random": {sphere: (300, 2.0)},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_solves_the_classics(name):
    for function, (generations, goal) in GOALS[name].items():
        optimizer, best = make(name), -np.inf
        for _ in range(generations):
            optimizer.tell(np.array([function(x) for x in optimizer.ask()]))
            best = max(best, function(optimizer.mean))  # a restart leaves it behind
        assert best > -goal, function.__name__


def test_searches_beat_chance_on_many_genes():
    """100 genes, 60 generations of 24: all but random search halve the distance many times over."""
    left = {}
    for name in OPTIMIZERS:
        optimizer = make(name, size=100, population=24)
        for _ in range(60):
            optimizer.tell(np.array([sphere(x) for x in optimizer.ask()]))
        left[name] = -sphere(optimizer.mean)
    assert all(left[name] < 0.7 * left["random"] for name in OPTIMIZERS if name != "random"), left


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
        optimizer.tell(np.resize(fitness, len(optimizer.ask())))
    assert np.isfinite(optimizer.mean).all()
    assert np.isfinite(optimizer.sigma)


def test_ranked_keeps_the_order():
    values = replace_non_finite(np.array([1.0, np.nan, np.inf, -3.0, -np.inf]))
    assert values[0] == 1.0
    assert values[3] == -3.0
    assert values[2] > 1.0
    assert values[1] == values[4] < -3.0
    assert replace_non_finite(np.array([np.nan, np.nan])) == [-1.0, -1.0]


def test_restarts_grow_and_an_unimodal_search_alone_does_not_solve_rastrigin():
    sizes = {}
    for name in ("ipop", "bipop"):
        optimizer = make(name)
        asked = []
        for _ in range(1200):
            genomes = optimizer.ask()
            asked.append(len(genomes))
            optimizer.tell(np.array([rastrigin(x) for x in genomes]))
        sizes[name] = list(dict.fromkeys(asked))
    assert sizes["ipop"][:3] == [12, 24, 48]
    assert any(size < 12 for size in sizes["bipop"]) or len(sizes["bipop"]) > 3
    alone, best = make("cmaes"), -np.inf
    for _ in range(1200):
        alone.tell(np.array([rastrigin(x) for x in alone.ask()]))
        best = max(best, rastrigin(alone.mean))
        if alone.stop():
            break
    assert best < -0.5


AXES = (Measure("left", -2, 2), Measure("right", -2, 2))


def many(x):
    """Return minus the distance from a point, and two genes: everywhere in their plane is a best."""
    return -float(((x - 0.3) ** 2).sum()), x[0], x[1]


@pytest.mark.parametrize("name", MULTI_OBJECTIVE_OPTIMIZERS)
def test_searches_of_many_replay_to_the_same_bits(name):
    runs = []
    for _ in range(2):
        optimizer = make_optimizer(name, 6, 5, 24, 0.5, AXES)
        for generation in range(60):
            values = np.array([many(x) for x in optimizer.ask()])
            values[0] = np.nan if generation == 7 else values[0]
            optimizer.tell(values)
        runs.append((optimizer.mean.tobytes(), optimizer.sigma, optimizer.ask().tobytes()))
    assert runs[0] == runs[1]
    assert make_optimizer(name, 6, 6, 24, 0.5, AXES).ask().tobytes() != runs[0][2]


@pytest.mark.parametrize(("name", "least"), [("map-elites", 0.45), ("cma-me", 0.6)])
def test_archives_fill(name, least):
    optimizer = make_optimizer(name, 6, 5, 24, 0.3, AXES)
    for _ in range(150):
        optimizer.tell(np.array([many(x) for x in optimizer.ask()]))
    genomes, fitness, measures = optimizer.elites()
    assert optimizer.sigma == len(genomes) / 32**2 > least
    assert np.allclose(measures, np.clip(genomes[:, :2], -2, 2))
    assert fitness == pytest.approx([many(x)[0] for x in genomes])


def test_a_front_is_found():
    """Two goals that pull apart: (x - 1)^2 and (x + 1)^2; between -1 and 1 nothing beats anything."""
    optimizer = make_optimizer("nsga2", 3, 5, 40, 0.5, (Measure("other", -10, 0),))
    for _ in range(60):
        genomes = optimizer.ask()
        optimizer.tell(-np.stack([((genomes - 1) ** 2).sum(axis=1), ((genomes + 1) ** 2).sum(axis=1)], axis=1))
    genomes, values = optimizer.front()
    assert len(genomes) > 20
    assert (np.diff(values[:, 0]) <= 0).all()
    assert (np.diff(values[:, 1]) >= 0).all()
    assert np.ptp(genomes, axis=1).mean() < 0.3
    assert values[0, 0] > -0.1
    assert values[-1, 1] > -0.1


@pytest.mark.parametrize("measures", [(), AXES * 2])
@pytest.mark.parametrize("name", ["map-elites", "nsga2"])
def test_measures_that_do_not_suit_are_named(name, measures):
    if name == "nsga2" and measures:
        return
    with pytest.raises(StudyError, match="measures"):
        make_optimizer(name, 6, 5, 24, 0.5, measures)


@pytest.mark.parametrize("fields", [("x", 1, 1), ("x", 2, 1), ("x", 0, float("inf")), (3, 0, 1), ("x", "a", 1)])
def test_bad_measures_are_named(fields):
    with pytest.raises(StudyError, match="allowed: low below high"):
        Measure(*fields)


def test_an_unknown_optimizer_is_named():
    with pytest.raises(StudyError, match="optimizer: 'adam'; allowed: cmaes"):
        make_optimizer("adam", 6, 5, 24, 0.5)
