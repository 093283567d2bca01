"""Cross products of parameters: every value of each by default, every combination with ``NEUROCTL_FULL=1``.

For parameters that are independent by design, and tests that take seconds: ``nox -s full`` runs all.
"""

import itertools
import os

FULL = os.environ.get("NEUROCTL_FULL", "0") != "0"


def crossed(*factors, full=FULL):
    """The rows of a test's parameters; the shorter factors begin again until the longest is through."""
    if full:
        return list(itertools.product(*factors))
    values = [list(factor) for factor in factors]
    return [tuple(of[row % len(of)] for of in values) for row in range(max(map(len, values)))]
