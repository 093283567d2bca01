"""What benchmarks measure with: sizes that are refused in a line, before anything runs."""

import re

import pytest

from neuroctl import LayoutError, bench


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: bench.lanes(8, count=0), "count: 0; allowed: integers >= 1"),
        (lambda: bench.lanes(8, count=64.0), "count: 64.0; allowed: integers >= 1"),
        (lambda: bench.lanes(8, steps=0), "steps: 0; allowed: integers >= 1"),
        (lambda: bench.latency(lambda: None, calls=0), "calls: 0; allowed: integers >= 1"),
        (lambda: bench.cold_start(runs=-1), "runs: -1; allowed: integers >= 1"),
    ],
)
def test_sizes_that_are_refused(call, said):
    with pytest.raises(LayoutError, match=f"^{re.escape(said)}$"):
        call()


@pytest.mark.parametrize("count", [1, 65])
def test_a_population_of_any_size_is_measured(monkeypatch, count):
    sizes = []
    backend = bench.get("cpu")
    monkeypatch.setattr(backend, "rollout", lambda spec, theta, u: sizes.append(theta.shape[1]))
    assert bench.lanes(2, count=count, steps=2) > 0
    assert set(sizes) == {count}
