"""Packs: lane by lane what numbers do, compiled and as NumPy rows."""

import numpy as np
import pytest

from neuroctl.maths.jit import INTEGER, jit_step
from neuroctl.maths.packs import any_lane, entry, first, like, load, select, store, wide

BAD = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0])


@jit_step
def arithmetic(a, b, y):
    for k in range(np.uint64(a.shape[0])):
        u, v = load(a, k), load(b, k)
        store(y, np.uint64(8) * k, u + v)
        store(y, np.uint64(8) * k + np.uint64(1), u - v)
        store(y, np.uint64(8) * k + np.uint64(2), u * v)
        store(y, np.uint64(8) * k + np.uint64(3), u / v)
        store(y, np.uint64(8) * k + np.uint64(4), abs(-u))
        store(y, np.uint64(8) * k + np.uint64(5), select(u < v, u, v))
        store(y, np.uint64(8) * k + np.uint64(6), select(u == u, like(u, 1.0), v))
        store(y, np.uint64(8) * k + np.uint64(7), select((u > v) | (u != u), like(u, 2.0), u))


@jit_step
def integers(a, n, y):
    for k in range(np.uint64(a.shape[0])):
        u, v = wide(a, k), wide(n, k)
        store(y, np.uint64(6) * k, (u * u) >> v)
        store(y, np.uint64(6) * k + np.uint64(1), (u << v) + 1)
        store(y, np.uint64(6) * k + np.uint64(2), u & 65535)
        store(y, np.uint64(6) * k + np.uint64(3), select(u < 0, -u, v))
        store(y, np.uint64(6) * k + np.uint64(4), abs(u) - v)
        store(y, np.uint64(6) * k + np.uint64(5), first(v) + u)


@jit_step
def looked_up(table, index, y):
    for k in range(np.uint64(index.shape[0])):
        store(y, k, entry(table, wide(index, k)))


@jit_step
def any_negative(a):
    return any_lane(load(a, np.uint64(0)) < load(a, np.uint64(1)))


def rows(dtype, width, count=5):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, count, width)).astype(dtype)
    a[0, :5], b[1, :5] = BAD, BAD
    return a, b


@pytest.mark.parametrize(("dtype", "width"), [(np.float32, 16), (np.float64, 8)])
def test_floats_do_what_numbers_do(dtype, width):
    a, b = rows(dtype, width)
    y = np.zeros((8 * len(a), width), dtype)
    arithmetic(a, b, y)
    for lane in range(width):
        alone = np.zeros(8 * len(a), dtype)
        with np.errstate(all="ignore"):
            arithmetic(a[:, lane].copy(), b[:, lane].copy(), alone)
        assert np.array_equal(y[:, lane], alone, equal_nan=True)


def test_rows_may_lie_anywhere():
    raw = np.zeros(4 * 16 * 5 + 1, np.uint8)[1:].view()
    a = np.frombuffer(raw.tobytes(), np.float32).reshape(5, 16).copy()
    apart = np.zeros((5, 3, 16), np.float32)
    apart[:, 1] = rows(np.float32, 16)[0]
    y, z = np.zeros((40, 16), np.float32), np.zeros((40, 16), np.float32)
    arithmetic(apart[:, 1], a, y)
    arithmetic(apart[:, 1].copy(), a, z)
    assert np.array_equal(y, z, equal_nan=True)


def test_integers_do_what_numbers_do():
    rng = np.random.default_rng(0)
    a = rng.integers(-30_000, 30_000, (7, 16)).astype(np.int32)
    n = np.repeat(rng.integers(0, 16, (7, 1)), 16, axis=1).astype(np.int64)
    n[:, 1:] = rng.integers(0, 16, (7, 15))
    y = np.zeros((42, 16), np.int32)
    integers(a, n, y)
    for lane in range(16):
        alone = np.zeros(42, np.int32)
        integers(a[:, lane].copy(), n[:, lane].copy(), alone)
        others = np.arange(42) % 6 != 5
        assert np.array_equal(y[others, lane], alone[others])
        assert np.array_equal(y[5::6, lane], n[:, 0] + a[:, lane])


def test_tables_are_looked_up_in_each_lane():
    table, index = np.arange(100, 188, dtype=np.int32), np.random.default_rng(0).integers(0, 88, (4, 16))
    y = np.zeros((4, 16), np.int32)
    looked_up(table, index, y)
    assert np.array_equal(y, table[index])
    alone = np.zeros(4, np.int32)
    looked_up(table, index[:, 0].copy(), alone)
    assert np.array_equal(alone, table[index[:, 0]])


def test_any_lane_is_one_or_more():
    a = np.zeros((2, 16), np.float32)
    assert not any_negative(a)
    a[1, 9] = 1
    assert any_negative(a)
    assert not any_negative(np.zeros(2, np.float32))
    assert any_negative(np.array([0, 1], np.float32))


def test_doubles_in_single_arithmetic_do_not_compile():
    numba = pytest.importorskip("numba")
    if numba.config.DISABLE_JIT:
        pytest.skip("the JIT is disabled: nothing is typed")

    @numba.njit(**INTEGER)
    def mixed(a, y):
        store(y, np.uint64(0), load(a, np.uint64(0)) * np.float64(2.0))

    with pytest.raises(numba.TypingError):
        mixed(np.zeros((1, 16), np.float32), np.zeros((1, 16), np.float32))
