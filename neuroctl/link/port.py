"""A serial port, configured once, and the USB device behind it. A device may return under another port name."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
import time
from collections.abc import Iterable
from numbers import Integral
from typing import Any, Final, NamedTuple

from neuroctl.checks import shown
from neuroctl.errors import PortError, require

SERIAL: Final = "serial:"
"""Prefix of a USB serial number given in place of a port name."""
_CHUNK: Final = 4096
_MAX_WAIT_S: Final = 1e6
"""Longest single wait, below poll's 2^31 ms; longer waits are repeated."""
_WRITE_S: Final = 1.0
"""Time without an accepted byte after which a write fails."""
_PIECE_S: Final = 0.001
"""Time of one of pyserial's waits for a byte, on systems without ``poll``."""


class Usb(NamedTuple):
    """Identity of a USB device: its serial number, None if missing or shared, and the location of its USB socket."""

    serial_number: str | None
    location: str | None


class Port:
    """An open serial port on any system that pyserial supports. Use ``open_port`` to open one.

    The port is opened exclusively and configured once: its timeout is fixed. The driver's low-latency flag (FTDI: 1 ms
    instead of 16) is set if there is one.

    Raises:
        PortError: the port cannot be opened or configured.
        BackendUnavailable: pyserial is not installed.

    """

    _timeout_s = _PIECE_S

    def __init__(self, name: str, baud: int):
        serial = require("serial", "serial")
        self.name = name
        self._full = serial.SerialTimeoutException
        try:
            self._serial = serial.Serial(name, baud, timeout=self._timeout_s, write_timeout=_WRITE_S, exclusive=True)
        except (serial.SerialException, ValueError, OverflowError, OSError) as error:
            raise PortError(_why_not(name, baud, error)) from error
        with contextlib.suppress(ValueError, OSError, AttributeError):
            self._serial.set_low_latency_mode(True)
        self.usb = usb_of(name)

    def read(self, wait_s: float) -> bytes:
        """Wait at most ``wait_s`` seconds for the first byte, and return all bytes received; empty if there are none.

        Raises:
            PortError: the port has gone.

        """
        end = time.monotonic() + wait_s
        data = b""
        try:
            while not (waiting := self._serial.in_waiting) and not data and time.monotonic() < end:
                data = self._serial.read(1)
            return data + bytes(self._serial.read(waiting)) if waiting else data
        except OSError as error:
            raise self._gone(error) from error

    def write(self, data: bytes) -> None:
        """Pass all bytes to the driver.

        Raises:
            PortError: the port has gone, or accepts no byte for one second.

        """
        try:
            self._serial.write(data)
        except self._full:
            raise self._blocked() from None
        except OSError as error:
            raise self._gone(error) from error

    def close(self) -> None:
        """Close the port; closing it twice is harmless."""
        with contextlib.suppress(OSError):
            self._serial.close()

    def _gone(self, error: OSError | None) -> PortError:
        why = "end of file" if error is None else error.strerror or " ".join(str(error).split())
        again = "then link.reconnect(), or run the command again"
        return PortError(f"port: {self.name} has gone ({why}); plug it in, {again}")

    def _blocked(self) -> PortError:
        return PortError(f"port: {self.name} takes no bytes for {_WRITE_S:g} s; is it blocked?")


class PolledPort(Port):
    """An open port on Linux. Reads and writes use the file descriptor, in a fifth of pyserial's time."""

    _timeout_s = 0.0

    def __init__(self, name: str, baud: int):
        super().__init__(name, baud)
        self._fd: int = self._serial.fileno()
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(self._fd, select.POLLIN)
        self._writable.register(self._fd, select.POLLOUT)

    def read(self, wait_s: float) -> bytes:
        """See ``Port``."""
        try:
            ready = self._readable.poll(min(max(0.0, wait_s), _MAX_WAIT_S) * 1e3)
            if not ready:
                return b""
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._gone(error) from error
        if not data:
            raise self._gone(None)
        return data

    def write(self, data: bytes) -> None:
        """See ``Port``."""
        deadline = time.monotonic() + _WRITE_S
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                if not self._writable.poll(max(0.0, deadline - time.monotonic()) * 1e3):
                    raise self._blocked() from None
            except OSError as error:
                raise self._gone(error) from error

    def close(self) -> None:
        """See ``Port``."""
        super().close()
        self._fd = -1


def open_port(name: str, baud: int, usb: Usb | None = None) -> Port:
    """Open a port.

    Args:
        name: port name, such as ``"/dev/ttyUSB0"`` or ``"COM3"``, or ``"serial:"`` and a USB serial number.
        baud: bits per second.
        usb: the device to find under any port name; ``name`` is then ignored. None: open ``name``.

    Raises:
        PortError: the port does not exist, is in use, lacks permission or is not a serial port; no port, or more than
            one, belongs to the device; the name or the baud rate is not allowed.
        BackendUnavailable: pyserial is not installed.

    """
    require("serial", "serial")
    _check(name, baud)
    if usb is None and name.startswith(SERIAL):
        usb = Usb(name.removeprefix(SERIAL), None)
    kind = PolledPort if sys.platform == "linux" and hasattr(select, "poll") else Port
    if usb is None:
        return kind(name, baud)
    port = kind(_find(usb), baud)
    if port.usb is None or (usb.serial_number or usb.location) not in port.usb:
        port.close()  # names changed at this very moment
        raise PortError(f"port: {port.name} is another device now; allowed: {_known_by(usb)}")
    return port


def ports() -> list[Any]:
    """Return pyserial's descriptions of the connected serial ports, a list of ``ListPortInfo``.

    Raises:
        BackendUnavailable: pyserial is not installed.

    """
    return list(require("serial.tools.list_ports", "serial").comports())


def usb_of(name: str) -> Usb | None:
    """Return the identity of the USB device behind a port name, or behind a link to it.

    None if the port is not listed, or has neither a unique serial number nor a USB location.

    Raises:
        BackendUnavailable: pyserial is not installed.

    """
    known, real = ports(), os.path.realpath(name)
    mine = next((port for port in known if port.device == name or os.path.realpath(port.device) == real), None)
    if mine is None:
        return None
    others = [port for port in known if port.serial_number == mine.serial_number]
    is_unique = mine.serial_number and len({_device_of(port) for port in others}) == 1
    usb = Usb(mine.serial_number if is_unique else None, mine.location or None)
    return usb if usb.serial_number or usb.location else None


def listed(known: Iterable[Any]) -> str:
    """Return port names and USB serial numbers as printable text for a message; ``"none"`` if there are no ports."""
    texts = (
        f"{port.device} (serial number {port.serial_number})" if port.serial_number else port.device for port in known
    )
    return ", ".join(text if text.isprintable() else ascii(text) for text in texts) or "none"


def _find(usb: Usb) -> str:
    """Return the present name of a device's port; the interface decides between several."""
    known = ports()
    if usb.serial_number:
        matches = [port for port in known if port.serial_number == usb.serial_number]
        if usb.location:
            matches = [port for port in matches if _interface_of(port.location) == _interface_of(usb.location)]
    else:
        matches = [port for port in known if port.location == usb.location]
    if not matches:
        raise PortError(f"port: no device has {_known_by(usb)}; there are: {listed(known)}")
    if len(matches) > 1:
        raise PortError(f"port: several have {_known_by(usb)}; allowed: one by its name, of {listed(matches)}")
    return str(matches[0].device)


def _known_by(usb: Usb) -> str:
    return (
        f"the USB serial number {shown(usb.serial_number)}" if usb.serial_number else f"the USB socket {usb.location}"
    )


def _device_of(port: Any) -> str:
    return str(port.location or port.device).partition(":")[0]


def _interface_of(location: str | None) -> str:
    return (location or "").partition(":")[2]


def _why_not(name: str, baud: int, error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code == errno.ENOENT or "FileNotFoundError" in str(error):  # Windows tells it in pyserial's text alone
        return f"port: {name} does not exist; there are: {listed(ports())}"
    if code in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in str(error) or "PermissionError" in str(error):
        return f"port: {name} is in use by another program; close that first"
    if code == errno.EACCES:
        return f"port: {name} may not be opened; allowed for its group, often dialout or uucp"
    if isinstance(error, ValueError | OverflowError):
        return _not_a_rate(baud)
    return f"port: {name} cannot be used as a serial port ({str(error).splitlines()[0]})"


def _check(name: Any, baud: Any) -> None:
    """Refuse values with another meaning to pyserial: None is a port that is not open yet, 0 baud hangs up."""
    if not isinstance(name, str) or not name.removeprefix(SERIAL) or "\0" in name:
        raise PortError(f"port: {name!r}; allowed: a name such as /dev/ttyACM0, or serial: and a USB serial number")
    if isinstance(baud, bool) or not isinstance(baud, Integral) or baud < 1:
        raise PortError(_not_a_rate(baud))


def _not_a_rate(baud: Any) -> str:
    return f"baud: {baud!r}; allowed: what the port can do, such as 9600, 115200, 921600"
