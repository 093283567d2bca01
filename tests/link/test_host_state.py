"""States as bytes: the words that C keeps, in C's order and storage."""

import numpy as np
import pytest

from neuroctl.errors import LayoutError
from tests.firmware.helpers import CELLS, controller, members
from tests.link.helpers import controller as small

ROWS = {name: {"cell": name} for name in CELLS} | {
    "ctrnn of 16 bits": {"cell": "ctrnn", "state_bits": 16},
    "ctrnn with a residual": {"cell": "ctrnn", "dt_s": 1e-5, "state_bits": 16},
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_words_are_those_of_the_c(row):
    q = controller(**row)
    ours = [(part.storage + "_t", part.start + i) for part in q.state_words for i in range(part.words)]
    assert ours == [(field.storage, field.start + i) for field in members(q) for i in range(field.words)]


def test_a_residual_is_kept():
    assert [part.name for part in controller(dt_s=1e-5, state_bits=16).state_words] == ["y", "s", "residual"]


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_controller_goes_on_from_a_states_bytes(row):
    q, other = controller(**row), controller(**row)
    inputs = np.random.default_rng(1).integers(-32768, 32768, (40, 2)).astype(np.int32)
    q.rollout_int(inputs[:20])
    other.rollout_int(inputs[30:])  # scratch of another history
    other.set_state_bytes(q.state_bytes())
    assert other.state_bytes() == q.state_bytes()
    assert np.array_equal(q.rollout_int(inputs[20:]), other.rollout_int(inputs[20:]))


def test_words_are_little_endian_and_without_gaps():
    q = small()
    q.state[:] = 0
    q.state[1], q.state[6] = -2, 0x0102
    assert q.state_bytes() == bytes(4) + b"\xfe\xff\xff\xff" + bytes(16) + b"\x02\x01" + bytes(10)


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_state_of_another_length_is_refused(extra):
    q = small()
    data = bytes(len(q.state_bytes()) + extra)
    with pytest.raises(LayoutError, match=r"^state: \d+ bytes; allowed: 36 bytes$"):
        q.set_state_bytes(data)
