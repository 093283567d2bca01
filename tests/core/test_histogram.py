import tracemalloc

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroctl.errors import LayoutError
from neuroctl.histogram import BUCKETS, EDGES, LARGEST, SIZE, Histogram, bucket_of, record_into

DURATIONS = st.lists(st.integers(0, 10**10), min_size=1, max_size=300)


def filled(values):
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@settings(deadline=None)
@given(st.integers(0, LARGEST))
def test_a_value_lies_in_its_bucket(value):
    bucket = bucket_of(value)
    assert EDGES[bucket] >= value
    assert bucket == 0 or EDGES[bucket - 1] < value


def test_buckets_cover_everything_up_to_the_largest():
    assert (bucket_of(0), bucket_of(LARGEST)) == (0, BUCKETS - 1)
    assert EDGES[-1] == LARGEST
    assert (np.diff(EDGES) <= np.maximum(1, EDGES[1:] / 64)).all()


@settings(deadline=None)
@given(DURATIONS, st.sampled_from([0.5, 0.9, 0.99, 0.999, 0.9999, 1.0]))
def test_quantiles_are_numpys_within_a_bucket(values, q):
    exact = int(np.percentile(values, 100 * q, method="inverted_cdf"))
    quantile = filled(values).quantile(q)
    assert exact <= quantile <= exact * (1 + 1 / 64) + 1


@settings(deadline=None)
@given(DURATIONS, DURATIONS)
def test_adding_equals_recording_all(first, second):
    together = filled(first)
    together.add(filled(second))
    both = filled(first + second)
    assert together.to_dict() == both.to_dict()
    assert (both.count, both.max) == (len(first + second), max(first + second))
    assert np.isclose(both.mean, np.mean(first + second))


def test_what_is_out_of_range_counts_at_the_end():
    histogram = filled([-5, LARGEST + 1])
    assert (histogram.counts[0], histogram.counts[-1], histogram.max) == (1, 1, LARGEST)


def test_of_nothing_is_zero():
    assert set(Histogram().to_dict().values()) == {0}


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="the JIT is disabled: plain Python allocates")
def test_recording_allocates_nothing():
    histogram = filled([1])
    tracemalloc.start()
    grown = []
    for _ in range(4):  # other threads of the process may allocate meanwhile, once
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            histogram.record(12345)
        grown.append(tracemalloc.get_traced_memory()[0] - before)
    tracemalloc.stop()
    assert min(grown) <= 64


def test_bad_arguments_are_named():
    for row in (np.zeros(3, np.int64), np.zeros(SIZE), [0] * SIZE):
        with pytest.raises(LayoutError, match="row: .*; allowed: int64"):
            Histogram(row)
    histogram = Histogram()
    for value in (1.5, "1", None):
        with pytest.raises(LayoutError, match="value: .*; allowed: integers"):
            histogram.record(value)
    for q in (-0.1, 1.1, float("nan"), "0.5"):
        with pytest.raises(LayoutError, match="q: .*; allowed: 0 to 1"):
            histogram.quantile(q)
    for value in (1 << 80, -(1 << 80), np.int32(7)):
        histogram.record(value)
    assert (histogram.count, histogram.max) == (3, LARGEST)


def test_a_new_one_is_compiled():
    """A link's first answer is counted while its board waits for outputs."""
    if hasattr(record_into, "signatures"):
        Histogram()
        assert len(record_into.signatures) >= 1
        before = len(record_into.signatures)
        Histogram().record(7)
        assert len(record_into.signatures) == before
