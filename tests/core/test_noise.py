"""Random numbers of plants: the published generator, in whole numbers that float32 holds, and what they are like."""

import math

import numba
import numpy as np
import pytest

from neuroctl.backends import plant as plants
from neuroctl.backends.kernels import build, head
from neuroctl.maths.jit import jit_exact_rows
from neuroctl.maths.noise import MODULI, MULTIPLIERS, SEEDS, draw, normal, uniform

COUNT = 200_000


@jit_exact_rows
def advance(a, b, c):
    for p in range(np.uint64(a.shape[0])):
        a[p], b[p], c[p] = draw(a[p], b[p], c[p])


@jit_exact_rows
def both(a, b, c, even, bell):
    for p in range(np.uint64(a.shape[0])):
        even[p], bell[p] = uniform(a[p], b[p], c[p]), normal(a[p], b[p], c[p])


def streams(dtype, lanes, steps, first=None):
    """Return uniform and normal numbers [steps, lanes] of streams with seeds at random, and the last seeds."""
    rng = np.random.default_rng(5)
    seeds = [np.array(s, dtype) for s in (first or [rng.integers(1, m, lanes) for m in MODULI])]
    even, bell = np.empty((steps, len(seeds[0])), dtype), np.empty((steps, len(seeds[0])), dtype)
    for t in range(steps):
        advance(*seeds)
        both(*seeds, even[t], bell[t])
    return even, bell, seeds


def plainly(seeds):
    """Algorithm AS 183 in integers."""
    return [k * x % m for x, k, m in zip(seeds, MULTIPLIERS, MODULI, strict=True)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_seed_goes_on_as_in_integers(dtype):
    """All values that an entry can have."""
    entries = [np.arange(1, m) for m in MODULI]
    most = max(MODULI) - 1
    columns = [np.resize(values, most) for values in entries]
    got = [column.astype(dtype) for column in columns]
    advance(*got)
    for column, have, k, m in zip(columns, got, MULTIPLIERS, MODULI, strict=True):
        assert np.array_equal(have, column * k % m)
        assert k * (m - 1) < 2**24  # whole numbers of float32


def test_plain_python_and_both_dtypes_are_in_step():
    seeds = [1, 20000, 30322]
    single = [np.array([s], np.float32) for s in seeds]
    double = [np.array([s], np.float64) for s in seeds]
    python = tuple(float(s) for s in seeds)
    for _ in range(1000):
        seeds, python = plainly(seeds), draw(*python)
        advance(*single)
        advance(*double)
        assert seeds == [s[0] for s in single] == [s[0] for s in double] == list(python)
        exact = sum(s / m for s, m in zip(seeds, MODULI, strict=True))
        assert uniform(*python) == pytest.approx(math.fmod(exact, 1), abs=1e-12)
        assert normal(*python) == pytest.approx(2 * exact - 3, abs=1e-12)


def test_the_period_is_the_published_one():
    """Multipliers are primitive roots: the periods are m - 1, and the joint one their least common multiple."""
    for k, m in zip(MULTIPLIERS, MODULI, strict=True):
        x, length = k, 1
        while x != 1:
            x, length = x * k % m, length + 1
        assert length == m - 1
    assert math.lcm(*(m - 1 for m in MODULI)) == 6_953_607_871_644
    assert [(s[0], s[-1]) for s in SEEDS] == [(1, m - 1) for m in MODULI]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distribution(dtype):
    """One long stream: mean, variance, share of each of 50 bins, and the tails, within 4.5 standard errors."""
    even, bell, _ = streams(dtype, 1, COUNT, [[7], [11], [13]])
    error = 4.5 / math.sqrt(COUNT)
    assert 0 <= even.min() and even.max() <= 1
    assert abs(even.mean() - 0.5) < error * math.sqrt(1 / 12)
    assert abs(even.var() - 1 / 12) < error * math.sqrt(1 / 180)
    shares = np.histogram(even, 50, (0, 1))[0] / COUNT
    assert np.abs(shares - 0.02).max() < error * math.sqrt(0.02)
    assert np.abs(bell).max() < 3
    assert abs(bell.mean()) < error
    assert abs((bell**2).mean() - 1) < error * math.sqrt(1.6)
    assert abs((bell**3).mean()) < error * 3.5
    assert abs((bell**4).mean() - 2.6) < error * 6
    for limit, share in ((1.0, 1 / 3), (2.0, 1 / 24)):  # of the Irwin-Hall distribution of three
        assert abs((np.abs(bell) > limit).mean() - share) < error * math.sqrt(share)


def test_neighbors_in_time_and_lanes_are_independent():
    even, bell, _ = streams(np.float64, 1, COUNT, [[7], [11], [13]])
    for values in (even[:, 0] - 0.5, bell[:, 0]):
        for lag in range(1, 41):
            correlation = (values[lag:] * values[:-lag]).mean() / (values**2).mean()
            assert abs(correlation) < 0.008 + 4.5 / math.sqrt(COUNT), lag
    _, bell, _ = streams(np.float32, 1000, 200)  # lanes whose seeds were drawn
    pairs = np.corrcoef(bell.T.astype(float))
    np.fill_diagonal(pairs, 0)
    assert np.abs(pairs).max() < 1 / 3 + 5 / math.sqrt(200)  # two streams may meet in one of the three generators
    assert abs(np.square(pairs).sum() / (1000 * 999) * 200 - 1) < 0.05


NOISY = """
from neuroctl.maths.noise import SEEDS, draw, normal

ACTIONS = 1
START = (0.0, 1, 1, 1)
STARTS = ((-1.0, 1.0), *SEEDS)


def step(x, a, dt_s):
    seeds = draw(x[1], x[2], x[3])
    return x[0] + dt_s * a[0] + 0.01 * normal(*seeds), seeds[0], seeds[1], seeds[2]


def observe(x):
    return (x[0],)


def fitness(x, steps, total, recent):
    return x[0]
"""


def test_a_plant_brings_its_own_noise(tmp_path):
    """In plain Python and compiled, of any dtype, the seeds are the same."""
    file = tmp_path / "noisy.py"
    file.write_text(NOISY)
    plant = plants.load(file)
    assert plant.whole == (False, True, True, True)
    x = plant.start_of(3)
    assert all(v == int(v) for v in x[1:])
    compiled = {d: build(head({}, d, "noisy", plant), f"noisy_{d}")._next for d in ("float32", "float64")}
    rows = {"float32": tuple(np.float32(v) for v in x), "float64": x}
    for _ in range(50):
        x = plants.next_state(plant, x, (0.0,), 0.1)
        for dtype, step in compiled.items():
            kind = getattr(np, dtype)
            rows[dtype] = step(rows[dtype], (kind(0),), kind(0.1))
            assert rows[dtype][1:] == x[1:]
            assert rows[dtype][0] == pytest.approx(x[0], abs=1e-5)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_loops_over_lanes_vectorize():
    advance(*(np.ones(64, np.float32) for _ in range(3)))
    single = [text for types, text in advance.inspect_llvm().items() if "float32" in str(types)]
    assert single and all("x float>" in text for text in single)
    assert not any("llvm.floor" in text or "fptosi" in text for text in single)
