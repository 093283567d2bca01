import contextlib
import errno
import importlib
import json
import math
import os
import resource
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader

import neuroctl as nc
from neuroctl.realtime import Log, Loop, read_log, sinks
from tests.realtime.pieces import FAST, SPEC, Echo, Recorder, fake

ROOT = Path(__file__).resolve().parents[2]


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
    data = read_log(path if suffix == "mcap" else tmp_path / "run.npz.part")
    assert not data.complete
    assert 0 < len(data) == report.log.written < 3000
    assert report.log.lost == report.ticks - report.log.written
    assert data["tick"].tolist() == list(range(len(data)))


def test_a_disk_that_is_really_full(tmp_path):
    if os.getuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path]).returncode:
        pytest.skip("no tmpfs can be mounted here: a full disk was only simulated")
    try:
        plant = Recorder(inputs=np.random.default_rng(0).normal(size=2))
        report = Loop(Echo(FAST), plant, log=tmp_path / "run.npz", **fake()).run(ticks=3000)
        assert (report.reason, report.log.error) == ("finished", "log: No space left on device")
        data = read_log(tmp_path / "run.npz.part")
        assert 300 < len(data) == report.log.written < 1000
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


# Several runs on one file.


@pytest.mark.parametrize("suffix", ["mcap", "npz"])
def test_two_loops_on_one_file_get_a_file_each(suffix, tmp_path):
    path = tmp_path / f"run.{suffix}"
    inner = {}

    def on_write(tick, y):
        if tick == 5:
            inner["report"] = Loop(Echo(), Recorder(), log=path, **fake()).run(ticks=40)

    outer = Loop(Echo(), Recorder(on_write=on_write), log=path, **fake()).run(ticks=60)
    other = tmp_path / f"run-1.{suffix}"
    assert (outer.log.paths, inner["report"].log.paths) == ((str(path),), (str(other),))
    assert (len(read_log(path)), len(read_log(other))) == (60, 40)
    assert read_log(path).complete and read_log(other).complete
    assert inner["report"].messages == (
        f"log: {path} is another's, or of a run that has not ended; this one is in {other}",
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == [other.name, path.name]


def crash(path):
    """Leave what a run that is killed leaves."""
    code = (
        "import os, sys, time\n"
        "from neuroctl.realtime import Loop\n"
        "from tests.realtime.pieces import FAST, Echo, Recorder\n"
        "plant = Recorder(on_write=lambda tick, y: tick == 1200 and os._exit(1))\n"
        "Loop(Echo(FAST), plant, log=sys.argv[1]).run()\n"
    )
    assert subprocess.run([sys.executable, "-c", code, path], cwd=ROOT).returncode == 1


@pytest.mark.parametrize("suffix", ["mcap", "npz"])
def test_the_log_of_a_run_that_crashed_is_never_replaced(suffix, tmp_path):
    path = tmp_path / f"run.{suffix}"
    crash(path)
    left = path if suffix == "mcap" else tmp_path / "run.npz.part"
    before = left.read_bytes()
    for number in (1, 2):
        report = Loop(Echo(), Recorder(), log=path, **fake()).run(ticks=30)
        assert report.log.paths == (str(tmp_path / f"run-{number}.{suffix}"),)
        assert len(read_log(report.log.paths[0])) == 30
    assert left.read_bytes() == before
    assert len(read_log(left)) > 100


@pytest.mark.parametrize("suffix", ["mcap", "npz"])
def test_the_log_of_a_run_that_has_ended_is_replaced(suffix, tmp_path):
    for ticks in (300, 20):
        logged(tmp_path / f"run.{suffix}", ticks=ticks)
    assert len(read_log(tmp_path / f"run.{suffix}")) == 20
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"notes of mine", b"\x89MCAP0\r\n"])
def test_a_file_that_is_no_log_to_its_end_stays(content, tmp_path):
    (tmp_path / "run.mcap").write_bytes(content)
    assert logged(tmp_path / "run.mcap", ticks=5)[2].log.paths == (str(tmp_path / "run-1.mcap"),)
    assert (tmp_path / "run.mcap").read_bytes() == content


def test_a_controller_is_never_replaced_by_a_log(tmp_path):
    ctl = nc.Controller(SPEC, seed=3)
    ctl.save(tmp_path / "best.npz")
    before = (tmp_path / "best.npz").read_bytes()
    assert logged(tmp_path / "best.npz", ticks=5)[2].log.paths == (str(tmp_path / "best-1.npz"),)
    assert (tmp_path / "best.npz").read_bytes() == before


def test_one_log_object_serves_one_loop_at_a_time(tmp_path):
    log, errors = Log(tmp_path / "run.npz"), []

    def on_write(tick, y):
        if tick == 5:
            with pytest.raises(nc.errors.LoopError, match="log: another loop is using it; allowed: a Log of its own"):
                Loop(Echo(), Recorder(), log=log, **fake()).run(ticks=4)
            errors.append(tick)

    assert Loop(Echo(), Recorder(on_write=on_write), log=log, **fake()).run(ticks=30).log.written == 30
    assert errors == [5]
    assert Loop(Echo(), Recorder(), log=log, **fake()).run(ticks=4).log.written == 4


def test_without_file_locks_two_loops_still_get_a_file_each(tmp_path, monkeypatch):
    monkeypatch.setattr(sinks.machine, "lock", lambda *_: None)
    for suffix in ("mcap", "npz"):
        (tmp_path / suffix).mkdir()
        test_two_loops_on_one_file_get_a_file_each(suffix, tmp_path / suffix)


# Damage.


def test_lengths_of_exabytes_take_no_memory(tmp_path):
    """The length of the first chunk, and of each record behind it, says 2^62."""
    logged(tmp_path / "run.mcap", ticks=300)
    data = (tmp_path / "run.mcap").read_bytes()
    tracemalloc.start()
    for place in range(8, len(data) - 8, 131):
        damaged = bytearray(data)
        damaged[place : place + 8] = struct.pack("<Q", 1 << 62)
        (tmp_path / "bad.mcap").write_bytes(damaged)
        with contextlib.suppress(nc.errors.FileFormatError):
            read_log(tmp_path / "bad.mcap")
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


@pytest.mark.parametrize("compression", ["LZ4", "ZSTD"])
def test_a_chunk_that_swells_is_not_unpacked(compression, tmp_path):
    writer = importlib.import_module("mcap.writer")
    with open(tmp_path / "bomb.mcap", "wb") as file:
        one = writer.Writer(file, chunk_size=1 << 30, compression=getattr(writer.CompressionType, compression))
        one.start()
        one.add_metadata("neuroctl", {"about": json.dumps({"inputs": 2, "outputs": 2})})
        schema = one.register_schema("x", "jsonschema", b"{}")
        channel = one.register_channel("/loop", "json", schema)
        one.add_message(channel, 0, b" " * (1 << 28), 0)
        one.finish()
    assert (tmp_path / "bomb.mcap").stat().st_size < 1 << 21
    code = (
        "import sys\n"
        "from neuroctl.realtime import read_log\n"
        "try: read_log(sys.argv[1])\n"
        "except ValueError as error: print(error)\n"
        "print([int(line.split()[1]) // 1024 for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "bomb.mcap"], cwd=ROOT, capture_output=True, text=True
    )
    line, megabytes = done.stdout.splitlines()
    assert "damaged: " in line and int(megabytes) < 400, done.stdout


ABOUT = {"name": "loop", "period_s": 0.01, "inputs": 1, "outputs": 1, "dtype": "float32", "spec": None}


@pytest.mark.parametrize(
    "change",
    [
        {"period_s": 0}, {"period_s": "1"}, {"name": 5}, {"inputs": 10**9}, {"inputs": -1}, {"inputs": None},
        {"outputs": 2}, {"dtype": "U99999999"}, {"dtype": "S8"},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["mcap", "npz", "npz.part"])
def test_what_a_log_says_of_itself_is_checked(change, suffix, tmp_path):
    if suffix != "mcap" and "dtype" in change:
        pytest.skip("read from the arrays themselves")
    path, about = tmp_path / f"run.{suffix}", ABOUT | change
    row = np.zeros(3, sinks.row_type(1, 1))
    if suffix == "npz":
        fields = {"about": about, "report": {"reason": "finished"}}
        nc.io.write_archive(path, "log", fields, {name: row[name] for name in row.dtype.names})
    elif suffix == "npz.part":
        path.write_bytes(json.dumps({"about": about}).encode() + b"\n" + row.tobytes())
        if change == {"outputs": 2}:
            pytest.skip("rows of another length, which nothing tells from the right ones")
    else:
        writer = importlib.import_module("mcap.writer")
        with open(path, "wb") as file:
            one = writer.Writer(file)
            one.start()
            one.add_metadata("neuroctl", {"about": json.dumps(about)})
            channel = one.register_channel("/loop", "json", one.register_schema("x", "jsonschema", b"{}"))
            numbers = dict.fromkeys(row.dtype.names, 0) | {"inputs": [0.0], "raw": [0.0], "outputs": [0.0]}
            one.add_message(channel, 0, json.dumps(numbers).encode(), 0)
            one.finish()
    with pytest.raises(nc.errors.FileFormatError, match="damaged|foreign"):
        read_log(path)


@pytest.mark.parametrize("report", [[], {"reason": 5}, "finished"])
def test_a_report_of_another_kind_is_refused(report, tmp_path):
    row = np.zeros(3, sinks.row_type(1, 1))
    fields = {"about": ABOUT, "report": report}
    nc.io.write_archive(tmp_path / "run.npz", "log", fields, {name: row[name] for name in row.dtype.names})
    with pytest.raises(nc.errors.FileFormatError, match="damaged: the loop's report"):
        read_log(tmp_path / "run.npz")


@pytest.mark.parametrize("path", [5, None, ["a.mcap"], b"missing.mcap", "a\0.mcap", "a\0.npz", "a\0.npz.part"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(nc.NeuroctlError):
        read_log(path)
