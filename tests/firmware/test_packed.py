"""Weights of 4, 3 and 2 bits in C: the bytes of their tables, and what is said of them."""

import re

import numpy as np
import pytest

import firmware_export
from firmware_export.emit import cell_c
from firmware_export.emit.parts import packed
from firmware_export.emit.tunable import tunable_c
from neuroctl.errors import ExportError
from neuroctl.maths.fixed import QFormat
from neuroctl.quant import QuantController
from tests.firmware.helpers import CELLS, controller, mixed_bits

NARROW = (2, 3, 4)


def bytes_of(weights, bits):
    """Each row as one long integer, whose bytes follow each other from the lowest on."""
    data = b""
    for row in weights:
        whole = sum((int(weight) % (1 << bits)) << (bits * j) for j, weight in enumerate(row))
        data += whole.to_bytes((len(row) * bits + 7) // 8, "little")
    return list(data)


def test_bytes_by_hand():
    assert packed(np.array([[1, -1, 7], [-8, 0, 3]]), 4).tolist() == [[0xF1, 0x07], [0x08, 0x03]]
    assert packed(np.array([[1, -1, -2, 0, 1]]), 2).tolist() == [[0b00101101, 0b01]]
    assert packed(np.array([[3, -4, -1]]), 3).tolist() == [[0b11100011, 0b1]]


def table_of(q, block):
    """The end of a table's name: the network between dense layers is one of its own, its readout the head's first."""
    around = block.startswith(("W_enc", "W_head")) or (block == "W_out" and q.spec.head)
    own = "" if not q.spec.dense or (around and block != "W_head.0") else "core_"
    return own + {"W_head.0": "W_out"}.get(block, block).lower().replace(".", "_")


@pytest.mark.parametrize("bits", NARROW)
def test_rows_begin_at_whole_bytes(bits):
    rng = np.random.default_rng(bits)
    for columns in range(1, 20):
        weights = rng.integers(-(1 << bits - 1), 1 << bits - 1, (4, columns))
        assert packed(weights, bits).ravel().tolist() == bytes_of(weights, bits)


@pytest.mark.parametrize("bits", [*NARROW, "mixed"])
@pytest.mark.parametrize("cell", CELLS)
def test_tables_hold_the_weights_of_the_controller(cell, bits, tmp_path):
    """In the header, and in what is uploaded to a board."""
    q = controller(7, 3, 2, cell=cell, weight_bits=mixed_bits(cell) if bits == "mixed" else bits)
    text = firmware_export.export(q, tmp_path).read_text()
    views = q.layout.views(q.theta_q)
    params = {param.member: param for param in tunable_c(q, "ctl").params}
    narrow = [name for name, form in q.formats.items() if form.bits in NARROW and name in views]
    assert narrow
    for block in narrow:
        suffix, wanted = table_of(q, block), bytes_of(views[block], q.formats[block].bits)
        (body,) = re.findall(rf"static NC_CONST uint8_t ctl_{suffix}\[[^]]*\] = {{(.*?)}};", text, re.DOTALL)
        assert [int(number) for number in body.split(",")] == wanted
        assert (params[suffix].storage, list(params[suffix].values)) == ("uint8_t", wanted)


def test_the_runtime_for_packed_weights_is_there_where_it_is_used(tmp_path):
    assert "NC_PACKED_H" not in firmware_export.export(controller(weight_bits=8), tmp_path / "8").read_text()
    text = firmware_export.export(controller(weight_bits={"W": 4}), tmp_path / "4").read_text()
    assert "NC_PACKED_H" in text
    assert "4 and 16-bit weights" in text


def test_bits_that_c_has_no_table_for(tmp_path):
    """A file may hold such a format."""
    q = controller(weight_bits=4)
    odd = QuantController(q.spec, {**q.formats, "W": QFormat(5, q.formats["W"].frac_bits)}, q.theta_q)
    with pytest.raises(ExportError, match=r"^W: bits in C: 5; allowed: 2, 3, 4, 8 or 16$"):
        firmware_export.export(odd, tmp_path / "fw")


def test_packed_weights_fit_where_bytes_do_not(tmp_path):
    """ATmega328P has 32 KiB of flash: 200 x 200 weights take 40,000 bytes, or 20,000 of 4 bits."""
    with pytest.raises(ExportError, match=r"weights take 41404 bytes; allowed: 32768"):
        firmware_export.export(controller(200, 2, 1, weight_bits=8, cell="elman"), tmp_path / "8", target="avr")
    q = controller(200, 2, 1, weight_bits=4, cell="elman")
    firmware_export.export(q, tmp_path / "4", target="avr")
    assert sum(len(column.values) for column in cell_c(q, "x").columns if column.storage == "uint8_t") == 20_300
