"""Where files are written: only regular files are replaced, and symbolic links are followed."""

import os
import socket
import stat

import numpy as np
import pytest

import neuroctl as nc
from neuroctl import io
from neuroctl.errors import ExportError, FileFormatError, LoopError

SPEC = nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.01, input_limits=((-1, 1),))


def fifo(path):
    os.mkfifo(path)


def device(path):
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def listening(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def folder(path):
    path.mkdir()


def loop(path):
    path.symlink_to(path.name)


PLACES = {"FIFO": fifo, "device": device, "socket": listening, "folder": folder, "symbolic link": loop}


def as_linked(make):
    """The same behind a symbolic link, as /dev/stdout is one."""

    def linked(path):
        make(path.with_name("there"))
        path.symlink_to("there")

    return linked


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", PLACES)
def test_what_is_no_regular_file_is_refused_and_stays(kind, linked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    path = tmp_path.joinpath("x.npz").relative_to(tmp_path)
    (as_linked(PLACES[kind]) if linked else PLACES[kind])(path)
    before = path.lstat()
    for write in (lambda: io.atomic_write(path, b"data"), lambda: nc.Controller(SPEC).save(path)):
        with pytest.raises(FileFormatError, match=rf"^x\.npz: is a {kind}.*; allowed: a regular file, or a new name$"):
            write()
    assert path.lstat() == before
    assert len(os.listdir()) == 1 + linked


@pytest.mark.parametrize("there", [True, False])
def test_symbolic_links_are_followed(there, tmp_path):
    (tmp_path / "far").mkdir()
    target = tmp_path / "far" / "best.npz"
    if there:
        target.write_bytes(b"old")
    (tmp_path / "hop").symlink_to("far/best.npz")
    link = tmp_path / "x.npz"
    link.symlink_to(tmp_path / "hop")
    nc.Controller(SPEC, seed=3).save(link)
    assert link.is_symlink() and target.is_file() and not target.is_symlink()
    assert nc.load(target).theta.tobytes() == nc.load(link).theta.tobytes()
    assert os.listdir(tmp_path / "far") == ["best.npz"]


@pytest.mark.parametrize("name", ["a\0b.npz", "\0", "x" * 300 + ".npz", ""])
def test_names_that_no_file_can_have(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileFormatError, match="^.*; allowed|cannot be written") as caught:
        nc.Controller(SPEC).save(name)
    assert "\n" not in str(caught.value) and "\0" not in str(caught.value)
    assert os.listdir() == []


@pytest.mark.parametrize("path", [3.5, None, object(), ["x.npz"]])
def test_what_is_no_path_is_refused(path):
    for use in (nc.load, nc.Controller(SPEC).save, nc.Controller(SPEC).quantize().save, io.load_model):
        with pytest.raises(FileFormatError, match=rf"^path: {type(path).__name__}; allowed: a str or an os.PathLike$"):
            use(path)


def test_a_path_may_be_bytes(tmp_path):
    path = os.fsencode(tmp_path / "x.npz")
    nc.Controller(SPEC, seed=1).save(path)
    assert nc.load(path).theta.tobytes() == nc.Controller(SPEC, seed=1).theta.tobytes()


def test_a_device_without_an_end_is_read_no_further_than_its_first_bytes():
    with pytest.raises(FileFormatError, match="^/dev/zero: a foreign file"):
        nc.load("/dev/zero")


@pytest.mark.parametrize("name", ["run.npz", "run.mcap", "run.npz.part"])
def test_a_log_replaces_no_fifo(name, tmp_path):
    from neuroctl.realtime import Log, Loop
    from tests.realtime.pieces import Recorder

    (tmp_path / name).symlink_to("pipe")
    fifo(tmp_path / "pipe")
    log = Log(tmp_path / name.removesuffix(".part"))
    with pytest.raises(LoopError, match="^log: .*is a FIFO"):
        Loop(nc.Controller(SPEC), Recorder(), log=log).run(ticks=1)
    assert sorted(os.listdir(tmp_path)) == ["pipe", name]


def test_pictures_replace_no_fifo(tmp_path):
    from neuroctl import plots

    fifo(tmp_path / "x.gif")
    with pytest.raises(FileFormatError, match="is a FIFO"):
        plots.gif([np.zeros((4, 4, 3), np.uint8)] * 2, tmp_path / "x.gif", frame_s=0.1)


@pytest.mark.parametrize("place", ["ctl.h", "ctl.json", "ctl.npz"])
@pytest.mark.parametrize("make", [fifo, device, loop, lambda path: path.symlink_to("../other")])
def test_an_export_replaces_regular_files_alone(place, make, tmp_path):
    firmware_export = pytest.importorskip("firmware_export")
    (tmp_path / "other").write_bytes(b"mine")
    (tmp_path / "fw").mkdir()
    make(tmp_path / "fw" / place)
    for force in (False, True):
        with pytest.raises(ExportError, match="^out_dir: ") as caught:
            firmware_export.export(nc.Controller(SPEC).quantize(), tmp_path / "fw", force=force)
    assert str(caught.value).endswith(f"{place} is in the way; allowed there: a regular file, or nothing")
    assert os.listdir(tmp_path / "fw") == [place] and (tmp_path / "other").read_bytes() == b"mine"


def test_an_export_is_not_written_through_a_linked_folder(tmp_path):
    firmware_export = pytest.importorskip("firmware_export")
    for name in ("fw", "far"):
        (tmp_path / name).mkdir()
    (tmp_path / "fw" / "src").symlink_to(tmp_path / "far")
    with pytest.raises(ExportError, match="src is in the way; allowed there: a regular folder, or nothing$"):
        firmware_export.export(nc.Controller(SPEC).quantize(), tmp_path / "fw", package="arduino", force=True)
    assert os.listdir(tmp_path / "far") == []


def test_the_folder_of_an_export_may_be_a_link(tmp_path):
    firmware_export = pytest.importorskip("firmware_export")
    (tmp_path / "far").mkdir()
    (tmp_path / "fw").symlink_to("far")
    firmware_export.export(nc.Controller(SPEC).quantize(), tmp_path / "fw")
    assert (tmp_path / "far" / "ctl.h").is_file()


def test_the_demo_removes_no_folder_behind_a_link(tmp_path):
    from neuroctl.demo import run_demo

    (tmp_path / "real" / "study").mkdir(parents=True)
    (tmp_path / "real" / "study" / "study.json").touch()
    (tmp_path / "demo").symlink_to("real")
    with pytest.raises(FileFormatError, match="^out: .*demo is a symbolic link; allowed: a new folder$"):
        run_demo(tmp_path / "demo", seed=1, workers=1, force=True, as_json=False)
    assert (tmp_path / "real" / "study" / "study.json").is_file()


def test_what_could_not_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    io.check_writable("out", tmp_path / "a.PNG", ".png")
    io.check_writable("out", "a.png", ".png")
    io.check_folder("out", tmp_path / "new" / "inner")
    (tmp_path / "file").write_text("")
    for suffix in ("a.jpg", "a", "png"):
        with pytest.raises(FileFormatError, match=rf"^out: '.*{suffix}'; allowed: a name that ends in \.png$"):
            io.check_writable("out", tmp_path / suffix, ".png")
    missing = r"^out: '.*/no/a\.png': cannot be written: .*/no is missing; allowed: a folder that can be written$"
    with pytest.raises(FileFormatError, match=missing):
        io.check_writable("out", tmp_path / "no" / "a.png", ".png")
    for check, place in ((io.check_writable, "file/a.png"), (io.check_folder, "file"), (io.check_folder, "file/new")):
        with pytest.raises(FileFormatError, match=r"^out: .*/file is no folder; allowed|: Not a directory$"):
            check("out", tmp_path / place)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    for check, place in ((io.check_writable, "a.png"), (io.check_folder, "new/inner")):
        with pytest.raises(FileFormatError, match=r"^out: .*: cannot be written: Permission denied; allowed"):
            check("out", tmp_path / place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_pictures_have_the_suffix_of_what_they_are(tmp_path):
    pytest.importorskip("matplotlib")
    from neuroctl import plots

    figure, _ = plots.new_figure(1, 2.0)
    with pytest.raises(FileFormatError, match=r"^picture: .*a\.jpg'; allowed: a name that ends in \.png$"):
        plots.save(figure, tmp_path / "a.jpg")
    with pytest.raises(FileFormatError, match=r"^gif: .*a\.png'; allowed: a name that ends in \.gif$"):
        plots.gif([np.zeros((4, 4, 3), np.uint8)] * 2, tmp_path / "a.png", frame_s=0.1)
    assert not list(tmp_path.iterdir())
