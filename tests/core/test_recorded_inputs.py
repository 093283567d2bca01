"""Files of recorded inputs: what is not whole is refused in one line."""

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.quantization_report import read_inputs


def test_both_kinds_of_file_are_read(tmp_path):
    data = np.arange(6.0).reshape(3, 2)
    np.save(tmp_path / "a.npy", data)
    (tmp_path / "a.csv").write_text("one,two\n0,1\n2,3\n4,5\n")
    assert (read_inputs(tmp_path / "a.npy") == data).all()
    assert (read_inputs(tmp_path / "a.csv") == data).all()


def test_recorded_inputs_are_copied():
    """A recorder that goes on in the same buffer would rewrite the test vectors of the export."""
    spec = nc.Spec(cell="elman", inputs=2, neurons=2, outputs=1, dt_s=0.01)
    data = np.arange(6.0).reshape(3, 2)
    q = nc.Controller(spec, seed=1).quantize(calibration=data)
    data[:] = -1
    assert (q.calibration == np.arange(6.0).reshape(3, 2)).all()


@pytest.mark.parametrize("head", ["", "one,two\n"])
def test_a_byte_order_mark_costs_no_row(head, tmp_path):
    """Spreadsheets write one: the first number was taken for a header."""
    (tmp_path / "a.csv").write_text(f"{head}0,1\n2,3\n", encoding="utf-8-sig")
    assert (read_inputs(tmp_path / "a.csv") == [[0, 1], [2, 3]]).all()


def test_columns_are_taken_by_the_inputs_names(tmp_path):
    names = ("pole angle [rad]", "speed")
    for head, order in (("t,speed,pole angle [rad]", [2, 1]), ("pole angle,speed,u", [0, 1])):
        (tmp_path / "a.csv").write_text(f"{head}\n0,1,2\n3,4,5\n")
        assert (read_inputs(tmp_path / "a.csv", names) == np.arange(6.0).reshape(2, 3)[:, order]).all()
    (tmp_path / "a.csv").write_text("0,1\n2,3\n")
    assert (read_inputs(tmp_path / "a.csv", names) == [[0, 1], [2, 3]]).all()
    for head, text in (
        (
            "pole angle [deg],speed",
            "no column for input 'pole angle \\[rad\\]' among pole angle \\[deg\\], speed; allowed",
        ),
        ("speed,speed,pole angle", "two columns for input 'speed'"),
    ):
        (tmp_path / "a.csv").write_text(f"{head}\n0,1,2\n")
        with pytest.raises(nc.FileFormatError, match=text):
            read_inputs(tmp_path / "a.csv", names)


def test_damaged_files_are_refused(tmp_path):
    np.save(tmp_path / "whole.npy", np.arange(6.0).reshape(3, 2))
    whole = (tmp_path / "whole.npy").read_bytes()
    contents = {f"{n}.npy": whole[:n] for n in range(len(whole))}
    contents |= {"text.npy": b"1,2", "header.npy": whole[:10] + b"(" * 70 + whole[80:], "zip.npy": b"PK\3\4"}
    contents |= {"words.csv": b"a,b\nc,d", "bytes.csv": b"\xff\xfe", "ragged.csv": b"1,2\n3"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(nc.FileFormatError, match=name) as caught:
            read_inputs(tmp_path / name)
        assert "\n" not in str(caught.value)
    for name in ("missing.npy", "missing.csv", "other.txt"):
        with pytest.raises(nc.FileFormatError, match=name):
            read_inputs(tmp_path / name)
