import errno
import json
import math
import os
import resource
import subprocess
import threading
import time

import numpy as np
import pytest
from mcap.reader import make_reader

import neuroctl as nc
from neuroctl.realtime import Log, Loop, read_log, sinks
from tests.realtime.pieces import FAST, SPEC, Echo, Recorder, fake


def logged(path, ticks=300, **options):
    """Log a loop whose inputs and outputs are different in each tick; return them and the report."""
    draw = np.random.default_rng(0)
    u = draw.uniform(-1, 1, (ticks, 2)).astype(np.float32)
    plant = Recorder(lambda tick, into: np.copyto(into, u[tick]))
    report = Loop(nc.Controller(SPEC, seed=3), plant, log=path, slew_per_s=20.0, **fake(), **options).run(ticks=ticks)
    return u, np.array(plant.written[:ticks]), report


@pytest.mark.parametrize("suffix", ["mcap", "npz"])
def test_a_log_holds_every_tick_to_the_last_bit(suffix, tmp_path):
    path = tmp_path / f"run.{suffix}"
    u, y, report = logged(path)
    log = read_log(path)
    assert log.complete and len(log) == 300
    assert (log["inputs"].astype(np.float32) == u).all()
    assert (log["outputs"].astype(np.float32) == y).all()
    ctl = nc.Controller(SPEC, seed=3)
    assert (log["raw"].astype(np.float32) == ctl.rollout(u)).all()
    assert (log.flag("slewed") == (log["raw"] != log["outputs"]).any(axis=1)).all()
    assert (np.diff(log["time_ns"]) == 10_000_000).all()
    assert log.about["spec"] == SPEC.to_dict()
    assert log.report["ticks"] == report.ticks == 300
    assert (report.log.written, report.log.lost, report.log.error) == (300, 0, "")


def test_both_forms_hold_the_same(tmp_path):
    logged(Log(tmp_path / "a.mcap", tmp_path / "a.npz"))
    one, other = read_log(tmp_path / "a.mcap"), read_log(tmp_path / "a.npz")
    assert set(one.columns) == set(other.columns)
    for name, column in one.columns.items():
        assert (column == other[name]).all(), name
    assert one.report == other.report


def test_other_tools_find_schema_topic_and_index(tmp_path):
    logged(tmp_path / "run.mcap", name="balance")
    with open(tmp_path / "run.mcap", "rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        channels = {channel.topic: channel for channel in summary.channels.values()}
        assert set(channels) == {"/balance", "/balance/report"}
        channel = channels["/balance"]
        schema = summary.schemas[channel.schema_id]
        assert (channel.message_encoding, schema.encoding) == ("json", "jsonschema")
        properties = json.loads(schema.data)["properties"]
        messages = [json.loads(m.data) for _, _, m in reader.iter_messages(topics=["/balance"])]
        assert len(messages) == 300
        assert set(messages[0]) == set(properties)
        assert summary.statistics.message_count == 301


def test_nan_is_null_in_json_and_nan_again_when_read(tmp_path):
    def on_read(tick, u):
        if tick == 5:
            u[1] = math.nan

    Loop(Echo(), Recorder(on_read), log=tmp_path / "run.mcap", **fake()).run()
    log = read_log(tmp_path / "run.mcap")
    assert np.isnan(log["inputs"][-1]).tolist() == [False, True]
    assert np.isnan(log["raw"][-1]).all()


@pytest.mark.parametrize("suffix", ["mcap", "npz"])
def test_records_that_find_the_ring_full_are_counted(suffix, tmp_path, monkeypatch):
    gate = threading.Event()
    kind = {"mcap": sinks.McapSink, "npz": sinks.NpzSink}[suffix]
    write = kind.write
    monkeypatch.setattr(kind, "write", lambda self, rows: gate.wait(20) and write(self, rows))

    def on_write(tick, y):
        if tick == 999:
            gate.set()

    path = tmp_path / f"run.{suffix}"
    report = Loop(Echo(), Recorder(on_write=on_write), log=Log(path, capacity=64), **fake()).run(ticks=1000)
    log = read_log(path)
    assert report.ok and report.ticks == 1000
    assert report.log.lost > 800
    assert report.log.written + report.log.lost == 1000
    assert len(log) == report.log.written
    assert (np.diff(log["tick"]) >= 1).all()


class FullDisk:
    """A file on a disk that is full after some bytes."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def write(self, data):
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.mark.parametrize("on_error", ["on", "stop"])
@pytest.mark.parametrize("suffix", ["mcap", "npz"])
def test_a_full_disk_does_not_stop_the_loop_unless_asked(suffix, on_error, tmp_path, monkeypatch):
    path = tmp_path / f"run.{suffix}"
    log = Log(path, on_error=on_error)

    def on_write(tick, y):
        if tick % 100 == 99:  # lets the log's thread run: the fake clock's time is short
            before = log.summary(ending=True).written
            deadline = time.monotonic() + 10
            while (
                not log.summary().error and log.summary(ending=True).written == before and time.monotonic() < deadline
            ):
                time.sleep(0.001)

    with monkeypatch.context() as patched:
        patched.setattr(sinks, "open", lambda *args, **more: FullDisk(open(*args, **more), 40_000), raising=False)
        report = Loop(Echo(FAST), Recorder(on_write=on_write), log=log, **fake()).run(ticks=3000)
    assert report.log.error == "log: No space left on device"
    assert report.reason == ("finished" if on_error == "on" else "log")
    assert report.safe
    found = read_log(path if suffix == "mcap" else tmp_path / "run.npz.part")
    assert not found.complete
    assert 0 < len(found) == report.log.written < 3000
    assert report.log.lost == report.ticks - report.log.written
    assert found["tick"].tolist() == list(range(len(found)))


def test_a_disk_that_is_really_full(tmp_path):
    if os.getuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path]).returncode:
        pytest.skip("no tmpfs can be mounted here: a full disk was only simulated")
    try:
        plant = Recorder(inputs=np.random.default_rng(0).normal(size=2))
        report = Loop(Echo(FAST), plant, log=tmp_path / "run.npz", **fake()).run(ticks=3000)
        assert (report.reason, report.log.error) == ("finished", "log: No space left on device")
        found = read_log(tmp_path / "run.npz.part")
        assert 300 < len(found) == report.log.written < 1000
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("suffix", ["mcap", "npz"])
def test_a_disk_that_is_full_at_any_place_costs_the_log_and_no_more(suffix, tmp_path):
    logged(tmp_path / f"whole.{suffix}", ticks=500)
    whole = (tmp_path / f"whole.{suffix}").stat().st_size
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in np.linspace(whole / 3, whole, 24).astype(int):
        log = Log(tmp_path / f"run.{suffix}", on_error="stop")
        loop = Loop(Echo(), Recorder(inputs=np.random.default_rng(0).normal(size=2)), log=log, **fake())
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
            report = loop.run(ticks=500)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert report.safe and (report.reason == "finished" or report.log.error)
        assert not report.log.error or report.log.error.endswith("File too large")
        assert loop.run(ticks=1).reason == "finished"  # it can run again


def test_damage_anywhere_in_a_file_is_no_foreign_error(tmp_path):
    logged(tmp_path / "run.mcap", ticks=50)
    data, draws = (tmp_path / "run.mcap").read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(1000):
        damaged = bytearray(data)
        for place in draws.integers(0, len(data), draws.choice([1, 4])):
            damaged[place] ^= 1 << draws.integers(8)
        (tmp_path / "bad.mcap").write_bytes(damaged)
        try:
            assert len(read_log(tmp_path / "bad.mcap")) <= 50
        except nc.errors.FileFormatError:
            refused += 1
    assert 10 < refused < 990


def test_a_log_that_cannot_be_created_is_refused_before_the_loop_runs(tmp_path):
    plant = Recorder()
    loop = Loop(Echo(), plant, log=tmp_path / "no" / "run.mcap", **fake())
    with pytest.raises(nc.NeuroctlError, match="No such file or directory; allowed"):
        loop.run(ticks=3)
    for suffix in ("mcap", "npz"):
        (tmp_path / f"dir.{suffix}").mkdir()
        with pytest.raises(nc.NeuroctlError, match="is a folder; allowed"):
            Loop(Echo(), plant, log=tmp_path / f"dir.{suffix}", **fake()).run(ticks=3)
    assert plant.reads == 0


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
def test_a_file_that_breaks_off_is_read_up_to_there(cut, tmp_path):
    logged(tmp_path / "run.mcap", ticks=3000)
    data = (tmp_path / "run.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(data[: int(cut * len(data))])
    log = read_log(tmp_path / "cut.mcap")
    assert not log.complete
    assert 0.5 * cut * 3000 < len(log) < 3000
    assert log["tick"].tolist() == list(range(len(log)))


@pytest.mark.parametrize("name", ["x.mcap", "x.npz", "x.npz.part"])
@pytest.mark.parametrize("content", [b"", b"hello\n", b'{"about": 3}\n'])
def test_foreign_files_are_refused(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(nc.errors.FileFormatError):
        read_log(tmp_path / name)
    with pytest.raises(nc.errors.FileFormatError):
        read_log(tmp_path / f"missing-{name}")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Log(), "log: no file"),
        (lambda: Log("a.csv"), "a.csv; allowed"),
        (lambda: Log("a.npz", "./a.npz"), "a.npz, a.npz; allowed: each file once"),
        (lambda: Log("a.npz", capacity=0), "capacity: 0; allowed"),
        (lambda: Log("a.npz", on_error="panic"), "on_error: 'panic'; allowed"),
    ],
)
def test_bad_arguments_are_named(make, text):
    with pytest.raises(nc.NeuroctlError, match=text):
        make()
