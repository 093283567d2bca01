"""The bridges step a controller for a peer on the loopback device."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import neuroctl as nc

ROOT = Path(__file__).resolve().parent.parent.parent
SPEC = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=1, dt_s=0.01)
ROWS = np.random.default_rng(0).normal(size=(20, 2)).astype("<f4")


@pytest.fixture
def start(tmp_path):
    """Start a bridge of a controller and wait until it listens; end it with the test."""
    nc.Controller(SPEC, seed=1).save(tmp_path / "c.npz")
    started = []

    def begin(name, *arguments):
        path = ROOT / "examples" / f"{name}.py"
        assert len([line for line in path.read_text().splitlines() if line.strip()]) < 40
        command = [sys.executable, str(path), str(tmp_path / "c.npz"), *map(str, arguments)]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        started.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        line = started[-1].stdout.readline()
        assert line.startswith("listening on"), started[-1].stderr.read()
        return started[-1], line.split()[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def expected():
    ctl = nc.Controller(SPEC, seed=1)
    return [ctl.step(row).astype("<f4").tobytes() for row in ROWS]


def test_udp(start):
    """Answers are the controller's; what is too short is dropped, an empty datagram resets."""
    process, address = start("bridge_udp", 0, 2 * len(ROWS) + 2)
    host, port = address.split(":")
    assert host == "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(10)
        peer.connect((host, int(port)))

        def ask(row):
            peer.send(row.tobytes())
            return peer.recv(100)

        assert [ask(row) for row in ROWS] == expected()
        peer.send(b"odd")
        peer.send(b"")
        assert [ask(row) for row in ROWS] == expected()
    assert process.wait(10) == 0
    assert process.stderr.read() == "dropped: 3 bytes; allowed: 8, or 0 to reset\n"


def test_zenoh(start):
    zenoh = pytest.importorskip(
        "zenoh", reason="eclipse-zenoh is not installed: examples/bridge_zenoh.py was NOT tested"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp/127.0.0.1:{probe.getsockname()[1]}"
    process, _ = start("bridge_zenoh", endpoint, len(ROWS))
    config = zenoh.Config()
    for key, value in (
        ("mode", '"peer"'),
        ("connect/endpoints", f'["{endpoint}"]'),
        ("scouting/multicast/enabled", "false"),
    ):
        config.insert_json5(key, value)
    with zenoh.open(config) as session:
        actions = session.declare_subscriber("robot/action")
        observation = session.declare_publisher("robot/observation")
        wait_for_the_bridge(observation)
        samples = []
        for row in ROWS:
            observation.put(row.tobytes())
            samples.append(actions.recv().payload.to_bytes())
    assert samples == expected()
    assert process.wait(10) == 0


def wait_for_the_bridge(publisher):
    """A peer hears of another's subscriptions a moment after they are connected."""
    import time

    end = time.monotonic() + 10
    while not publisher.matching_status.matching and time.monotonic() < end:
        time.sleep(0.01)
    assert publisher.matching_status.matching
    time.sleep(0.2)  # and the other way round
