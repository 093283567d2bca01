import json
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import neuroctl as nc
from neuroctl import io
from tests.strategies import any_cell

SPEC = nc.Spec(cell="ctrnn", inputs=2, neurons=3, outputs=1, dt_s=0.01)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "c.npz"
    nc.Controller(SPEC, seed=2).save(path, meta={"task": "none"}, calibration=np.ones((4, 2), np.float32))
    return path


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(any_cell(), st.dictionaries(st.text(), st.text() | st.integers() | st.booleans()))
def test_round_trip(tmp_path, spec, meta):
    ctl = nc.Controller(spec, seed=1)
    ctl.save(tmp_path / "x.npz", meta=meta)
    model = io.load_model(tmp_path / "x.npz")
    assert model.spec == spec
    assert model.meta == meta
    assert model.theta.tobytes() == ctl.theta.tobytes()


def test_equal_content_gives_equal_bytes(saved, tmp_path):
    nc.Controller(SPEC, seed=2).save(tmp_path / "d.npz", meta={"task": "none"}, calibration=np.ones((4, 2), np.float32))
    assert (tmp_path / "d.npz").read_bytes() == saved.read_bytes()


def test_a_file_holds_its_arrays_and_nothing_else(saved):
    """NumPy 2.0 and 2.1 write each keyword of ``savez`` as an array."""
    with zipfile.ZipFile(saved) as file:
        assert sorted(file.namelist()) == ["calibration.npy", "header.npy", "theta.npy"]


def test_arrays_of_objects_are_not_written(tmp_path):
    with pytest.raises(nc.FileFormatError, match="array 'a' holds Python objects"):
        io.write_archive(tmp_path / "o.npz", "controller", {}, {"a": np.array([{}, None], dtype=object)})
    assert not list(tmp_path.iterdir())


def test_every_truncation_is_refused(saved, tmp_path):
    content = saved.read_bytes()
    for length in [*range(0, len(content) - 1, 37), len(content) - 1]:
        (tmp_path / "t.npz").write_bytes(content[:length])
        with pytest.raises(nc.FileFormatError) as caught:
            nc.load(tmp_path / "t.npz")
        assert "\n" not in str(caught.value)


def test_every_flipped_bit_is_refused_or_harmless(saved, tmp_path):
    """Some bits of a zip file mean nothing (times, attributes); no flip may change the controller."""
    content = bytearray(saved.read_bytes())
    theta = nc.load(saved).theta
    refused = 0
    for place in range(0, len(content), 3):
        content[place] ^= 1 << (place % 8)
        (tmp_path / "f.npz").write_bytes(content)
        content[place] ^= 1 << (place % 8)
        try:
            loaded = nc.load(tmp_path / "f.npz")
        except nc.FileFormatError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert (loaded.theta == theta).all()
    assert refused > len(content) // 3 * 0.5


def rewrite(path, change):
    """Rewrite the header of a file, its hash too."""
    archive = io.read_archive(path)
    header = {"format": "neuroctl", "schema": 1, "kind": archive.kind, "fields": archive.fields}
    change(header, archive.arrays)
    header["sha256"] = io._digest(header, archive.arrays)
    np.savez(path, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **archive.arrays)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda h, a: h.update(schema=2), "schema 2; allowed: 1 to 1"),
        (lambda h, a: h.update(schema="1"), "schema '1'"),
        (lambda h, a: h.update(format="other"), "foreign"),
        (lambda h, a: h.update(kind="study"), "holds a 'study'"),
        (lambda h, a: h["fields"].pop("spec"), "spec is missing"),
        (lambda h, a: a.pop("theta"), "theta is missing"),
        (lambda h, a: h["fields"]["spec"].update(dt_s=0), "dt_s"),
        (lambda h, a: h["fields"]["spec"].update(neurons=4), "theta: shape"),
        (lambda h, a: a.update(theta=a["theta"] * np.nan), "nan"),
    ],
)
def test_a_sound_file_with_bad_content_is_refused(saved, change, text):
    rewrite(saved, change)
    with pytest.raises(nc.FileFormatError, match=text):
        nc.load(saved)


HEADER = b'{"format":"neuroctl","schema":1,"kind":"controller","fields":{"meta":%s},"sha256":"0"}'


@pytest.mark.parametrize(
    "notes", [b"NaN", b"1e999", b"[" * 100_000 + b"]" * 100_000, b"9" * 5000], ids=["nan", "inf", "deep", "long"]
)
def test_a_header_that_is_no_sound_json_is_refused(tmp_path, notes):
    np.savez(tmp_path / "h.npz", header=np.frombuffer(HEADER % notes, np.uint8), theta=np.zeros(3))
    with pytest.raises(nc.FileFormatError, match="damaged: its header") as caught:
        nc.load(tmp_path / "h.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [5, "ab", [1, 2], [[1, 2]], True])
@pytest.mark.parametrize("key", ["fields", "meta"])
def test_what_should_be_an_object_and_is_not_is_refused(saved, key, value):
    rewrite(saved, lambda h, a: (h if key == "fields" else h["fields"]).update({key: value}))
    with pytest.raises(nc.FileFormatError, match=f"{key}: .*; allowed: a JSON object"):
        nc.load(saved)


@pytest.mark.parametrize(
    ("field", "value"), [("dt_s", 10**400), ("input_limits", [[-1, 10**400], [0, 1]]), ("order_seed", -(10**400))]
)
def test_numbers_beyond_every_float_are_refused(saved, field, value):
    rewrite(saved, lambda h, a: h["fields"]["spec"].update({field: value}))
    with pytest.raises(nc.FileFormatError, match=rf"{field}(\[0\])?: .*1?000.*; allowed") as caught:
        nc.load(saved)
    assert len(str(caught.value)) < 400


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch /tmp/neuroctl-pickle-was-run",))


def test_a_pickle_is_refused_and_not_run(tmp_path):
    path = tmp_path / "p.npz"
    header = json.dumps({"format": "neuroctl", "schema": 1, "kind": "controller", "fields": {}}).encode()
    np.savez(path, header=np.frombuffer(header, np.uint8), theta=np.array([Bomb()], dtype=object))
    with pytest.raises(nc.FileFormatError, match="pickle"):
        nc.load(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(nc.FileFormatError):
        nc.load(path)
    assert not os.path.exists("/tmp/neuroctl-pickle-was-run")


def test_foreign_files_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    np.savez(tmp_path / "b.npz", x=np.zeros(3))
    (tmp_path / "c.npz").write_text("hello")
    (tmp_path / "d.npz").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "e.npz", "w") as file:
        file.writestr("header.npy", "no array")
    (tmp_path / "f.npz").mkdir()
    for name in ("a.npy", "b.npz", "c.npz", "d.npz", "e.npz", "f.npz", "missing.npz"):
        with pytest.raises(nc.FileFormatError) as caught:
            nc.load(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(nc.FileFormatError, match="No space left on device"):
        nc.Controller(SPEC, seed=9).save(saved)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(nc.FileFormatError, match="nowhere"):
        nc.Controller(SPEC).save(tmp_path / "nowhere" / "c.npz")


NOTES = [{"a": float("nan")}, {"a": object()}, {"a": {1, 2}}, {"scores": {2: 0.5, 10: 0.7}}, {"a": [{None: 1}]}]


@pytest.mark.parametrize("meta", NOTES)
def test_notes_that_json_would_change_are_refused(tmp_path, meta):
    with pytest.raises(nc.FileFormatError, match="plain JSON types"):
        nc.Controller(SPEC).save(tmp_path / "c.npz", meta=meta)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        ([1], r"meta: \[1\]; allowed: a mapping"),
        ({1: 2}, "meta: key 1 is int and not str"),
        ({"a": float("nan")}, "meta: Out of range float"),
        ({"a": np.float32(1)}, "meta: Object of type float32"),
    ],
)
def test_notes_of_a_controller_are_plain_json(meta, told):
    with pytest.raises(nc.FileFormatError, match=f"^{told}"):
        nc.Controller(nc.Spec(cell="elman", inputs=1, neurons=1, outputs=1, dt_s=0.1), meta=meta)
