"""What controllers gave before, they give now: outputs over 10,000 steps, CRCs and headers, see ``make_figures``."""

import json
import os

import numpy as np
import pytest

from tests.make_figures import FILE, NAMES, figures_of, integers, machine

STORED = json.loads(FILE.read_text())
TOLERANCE = 2e-4
"""As ``docs/conformance.md`` states it; over 100 steps, code for any x86-64 and for AVX-512 differed by 1.1e-5."""

pytestmark = pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT", "0") != "0", reason="10,000 steps take too long")


def test_no_case_is_left_out():
    assert list(STORED["figures"]) == NAMES


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", STORED["figures"])
def test_a_controller_gives_what_it_gave(name):
    """Integers and headers to the bit everywhere; floats to the bit where the file was made, else within rounding."""
    stored, now = STORED["figures"][name], figures_of(name)
    assert integers(now) == integers(stored)
    if machine() == STORED["machine"]:
        assert now["float"] == stored["float"]
    np.testing.assert_allclose(now["float outputs"], stored["float outputs"], rtol=0, atol=TOLERANCE)
