"""Which board is on which port: names are dealt anew when boards are plugged in, serial numbers are not."""

import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from neuroctl.errors import LinkError, ModelError, PortError
from neuroctl.link import HostDriven, Link, Mode, find_board
from neuroctl.link import finding as finding_module
from neuroctl.link import port as port_module
from tests.commands import neuroctl
from tests.link.helpers import controller
from tests.link.plain_board import PlainBoard, Served

LEFT, RIGHT = controller(), controller()
"""Two arms of one model: nothing but their serial numbers tells them apart."""


class Hub:
    """Two boards on USB, whose ports are links in a folder; pyserial tells what ``ports`` says."""

    def __init__(self, folder, monkeypatch, boards, serials=("A", "B"), locations=("1-1.1", "1-1.2")):
        self.folder, self.hosts = folder, [Served(board) for board in boards]
        for host in self.hosts:
            host.unplug()
        self.serials, self.locations, self.names = list(serials), list(locations), {}
        monkeypatch.setattr(port_module, "ports", self.ports)
        monkeypatch.setattr(finding_module, "ports", self.ports)

    def plug(self, *order):
        """Plug boards in; the first gets the first name that is free."""
        for index in order:
            taken = set(self.names.values())
            name = next(path for n in range(9) if (path := self.folder / f"ttyACM{n}") not in taken)
            self.hosts[index].open(name)
            self.names[index] = name

    def unplug(self, *order):
        for index in order:
            self.hosts[index].unplug()
            self.names.pop(index).unlink(missing_ok=True)

    def ports(self):
        return [
            SimpleNamespace(
                device=str(name), serial_number=self.serials[index], location=self.locations[index], vid=0x2341
            )
            for index, name in sorted(self.names.items())
        ]

    def link(self, index, q=LEFT, **options):
        return Link(str(self.names[index]), q, **({"timeout_s": 0.1, "hello_s": 1.0} | options))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = Hub(tmp_path, monkeypatch, [PlainBoard(LEFT, 5.0), PlainBoard(RIGHT, 5.0)])
    hub.plug(0, 1)
    yield hub
    hub.unplug(*list(hub.names))


def drives(plant, host, value):
    plant.write(np.array([value], np.float32))
    plant.read(np.zeros(2, np.float32))
    return LEFT.dequantize_output(host.board.out)[0] == value


def test_a_board_that_got_the_other_ones_name_is_not_driven_in_its_place(hub):
    """Both arms run the same model; they come back in the other order."""
    with hub.link(0) as link:
        plant = HostDriven(link)
        plant.start()
        hub.unplug(0, 1)
        hub.plug(1, 0)
        with pytest.raises(PortError):
            plant.read(np.zeros(2, np.float32))
        link.reconnect()
        assert link.port.endswith("ttyACM1")
        plant.start()
        assert drives(plant, hub.hosts[0], 3.0)
        assert hub.hosts[1].board.mode == Mode.IDLE


def test_a_board_that_has_not_come_back_is_waited_for_though_its_name_has(hub):
    with hub.link(0) as link:
        hub.unplug(0, 1)
        hub.plug(1)
        with pytest.raises(PortError) as error:
            link.reconnect(wait_s=0.2)
        text = str(error.value)
        assert "no device has the USB serial number 'A'" in text
        assert "ttyACM0 (serial number B)" in text
        hub.plug(0)
        assert link.reconnect(wait_s=2.0).mode == Mode.IDLE


@pytest.mark.parametrize("serials", [(None, None), ("0001", "0001")], ids=["none", "the same"])
def test_without_a_serial_number_of_its_own_a_board_is_known_by_its_socket(hub, serials):
    """As cheap converters have it."""
    hub.serials[:] = serials
    with hub.link(0) as link:
        hub.unplug(0, 1)
        hub.plug(1)
        with pytest.raises(PortError, match="no device has the USB socket 1-1.1; there are"):
            link.reconnect(wait_s=0.1)
        hub.plug(0)
        link.reconnect()
        assert link.port.endswith("ttyACM1")


def test_a_device_with_two_ports_is_reconnected_on_the_same_one(hub):
    """One serial number, two interfaces: the board's second port comes back first."""
    hub.serials[:] = ("A", "A")
    hub.locations[:] = ("1-1:1.0", "1-1:1.2")
    with hub.link(0) as link:
        hub.unplug(0, 1)
        hub.plug(1)
        hub.locations[1] = "1-4:1.2"
        with pytest.raises(PortError, match="no device has the USB serial number 'A'"):
            link.reconnect(wait_s=0.1)
        hub.plug(0)
        hub.locations[0] = "1-4:1.0"
        link.reconnect()
        assert link.port.endswith("ttyACM1")
    with pytest.raises(
        PortError, match=r"several have the USB serial number 'A'; allowed: one by its name, of .*ttyACM0"
    ):
        Link("serial:A", LEFT)


def test_a_link_may_be_opened_by_serial_number(hub):
    with Link("serial:B", RIGHT, timeout_s=0.1) as link:
        assert link.port == str(hub.names[1])
    with pytest.raises(
        PortError, match=r"^port: no device has the USB serial number 'C'; there are: .*\(serial number B\)$"
    ):
        Link("serial:C", RIGHT)
    with pytest.raises(PortError, match="^port: 'serial:'; allowed"):
        Link("serial:", RIGHT)


def test_names_that_are_dealt_anew_while_a_port_is_opened(hub, monkeypatch):
    find = port_module._find

    def too_late(usb):
        name = find(usb)
        hub.unplug(0, 1)
        hub.plug(1, 0)
        return name

    monkeypatch.setattr(port_module, "_find", too_late)
    with pytest.raises(PortError, match="is another device now; allowed: the USB serial number 'A'"):
        Link("serial:A", LEFT)


def test_a_port_that_is_no_usb_device_is_reopened_by_its_name(tmp_path):
    host = Served(PlainBoard(LEFT))
    host.unplug()
    host.open(tmp_path / "port")
    with Link(str(tmp_path / "port"), LEFT, timeout_s=0.1) as link:
        assert link._port.usb is None
        host.unplug()
        host.open(tmp_path / "port")
        link.reconnect()
    host.unplug()


def test_a_board_is_found_by_its_model(hub):
    with pytest.raises(
        ModelError, match=f"^model: {LEFT.model_crc32:08x} is on 2 boards; allowed: one; there are: .*ttyACM0"
    ):
        find_board(LEFT.model_crc32)
    other = controller(seed=9)
    hub.unplug(1)
    hub.hosts[1].board = PlainBoard(other)
    hub.plug(1)
    assert find_board(other.model_crc32) == str(hub.names[1])
    assert find_board(f"0x{LEFT.model_crc32:08X}") == str(hub.names[0])
    with (
        hub.link(0),
        pytest.raises(ModelError, match=r"00000001 is on 0 boards; .* \(in use\), .*ttyACM1 \([0-9a-f]{8}\)"),
    ):
        find_board(1)
    with pytest.raises(LinkError, match="^model: 'xyz'; allowed: 8 hexadecimal digits"):
        find_board("xyz")


def test_a_serial_number_brings_no_escapes_to_the_screen(hub):
    hub.serials[0] = "\x1b]0;owned\x07"
    with pytest.raises(PortError) as error:
        Link("serial:C", LEFT)
    assert str(error.value).isprintable()


def test_the_command_line_takes_a_serial_number_or_a_model(hub, tmp_path, monkeypatch, capsys):
    import json

    from neuroctl.cli import app

    def neuroctl(*words):
        app(["link", *words, "--json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    assert neuroctl("--serial", "B")["port"] == str(hub.names[1])
    LEFT.save(tmp_path / "ctl.npz")
    hub.unplug(1)
    result = neuroctl("--model", f"{LEFT.model_crc32:08x}")
    assert (result["port"], result["mode"]) == (str(hub.names[0]), "info")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "PORT"),
        (("--serial", "A", "--model", "00000000"), "beside --model"),
        (("/dev/ttyX", "a.npz", "--serial", "A"), "beside a port"),
        (("--serial", "A", "--mode", "host"), "a controller file is needed"),
        (("upload", "--serial", "A"), "a controller file is needed"),
    ],
)
def test_what_is_missing_or_too_much_is_said(words, text):
    done = neuroctl("link", *words, code=2)
    assert text in re.sub(r"\s+", " ", done.stderr + done.stdout)


HIDDEN = """
import sys, select
import serial, serial.tools.list_ports
for name in ("fcntl", "termios", "pty", "tty", "resource", "grp", "pwd"):
    sys.modules[name] = None
del select.poll
import numpy as np
import neuroctl as nc
from neuroctl.link import BoardDriven, HostDriven, Link, Shadow
q = nc.load(sys.argv[1]).quantize()
with Link(sys.argv[2], q, timeout_s=0.5) as link:
    assert type(link._port).__name__ == "Port", type(link._port)
    with Shadow(link, timeout_s=5.0) as shadow:
        for _ in range(50):
            shadow.step(np.ones(2, np.float32))
    assert (shadow.steps, shadow.differing_bits) == (50, 0)
    with HostDriven(link, timeout_s=5.0) as plant:
        u = np.zeros(2, np.float32)
        for _ in range(20):
            assert plant.read(u)
            plant.write(np.ones(1, np.float32))
    reports = []
    with BoardDriven(link, timeout_s=5.0, on_report=reports.append) as board:
        board.run(0.3)
    assert len(reports) > 5
    link.poll(0.0)
    print("worked", link.stats.lost)
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        link.ping()
    except nc.LinkError as error:
        print(error, flush=True)
"""


def test_the_link_works_by_pyserial_alone(tmp_path):
    """Where there is no select.poll, fcntl, termios and pty, as on Windows; the port's end is one line."""
    import neuroctl as nc

    ctl = nc.Controller(LEFT.spec, seed=3)
    ctl.save(tmp_path / "ctl.npz")
    host = Served(PlainBoard(ctl.quantize()))
    command = [sys.executable, "-c", HIDDEN, str(tmp_path / "ctl.npz"), host.port]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        for line in process.stdout:
            if line == "ready\n":
                break
            assert line == "worked 0\n"
        host.unplug()
        out, err = process.communicate("go\n")
    assert "has gone" in out, out + err
    assert len(out.splitlines()) == 1
