"""A serial port that is configured once: non-blocking reads that wait on the file descriptor."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from numbers import Integral
from typing import Any, Final

from neuroctl.errors import PortError, require

_CHUNK: Final = 4096
_LONGEST_WAIT_S: Final = 1e6
"""Below the 2^31 ms that poll takes: whoever waits for ever asks again."""
_WRITE_S: Final = 1.0
"""A port that takes no byte for this long counts as gone."""


class Port:
    """An open port.

    pyserial opens and configures it, for one user at a time; with a fixed timeout of 0 it never configures it again.
    The driver's low-latency flag (FTDI: 1 ms instead of 16) is set where there is one.

    Args:
        name: such as ``"/dev/ttyUSB0"``.
        baud: bits a second.

    Raises:
        PortError: the port does not exist, is in use, is not allowed, or is no serial port.
        BackendUnavailable: pyserial is not installed.

    """

    def __init__(self, name: str, baud: int):
        serial = require("serial", "serial")
        _check(name, baud)
        self.name = name
        try:
            self._serial = serial.Serial(name, baud, timeout=0, exclusive=True)
        except (serial.SerialException, ValueError, OverflowError, OSError) as error:
            raise PortError(_why_not(name, baud, error)) from error
        self._fd: int = self._serial.fileno()
        with contextlib.suppress(ValueError, OSError, AttributeError):
            self._serial.set_low_latency_mode(True)
        self.usb_serial: str | None = next((p.serial_number for p in ports() if p.device == name), None)
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(self._fd, select.POLLIN)
        self._writable.register(self._fd, select.POLLOUT)

    def read(self, wait_s: float) -> bytes:
        """Return the bytes that have come, after waiting for the first at most ``wait_s`` seconds; empty: none.

        Raises:
            PortError: the port has gone.

        """
        try:
            ready = self._readable.poll(min(max(0.0, wait_s), _LONGEST_WAIT_S) * 1e3)
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
        """Hand all bytes to the driver.

        Raises:
            PortError: the port has gone, or takes nothing.

        """
        deadline = time.monotonic() + _WRITE_S
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                if not self._writable.poll(max(0.0, deadline - time.monotonic()) * 1e3):
                    raise PortError(f"port: {self.name} takes no bytes for {_WRITE_S:g} s; is it blocked?") from None
            except OSError as error:
                raise self._gone(error) from error

    def close(self) -> None:
        """Close the port; twice does no harm."""
        with contextlib.suppress(OSError):
            self._serial.close()
        self._fd = -1

    def _gone(self, error: OSError | None) -> PortError:
        why = error.strerror if error is not None and error.strerror else "end of file"
        return PortError(f"port: {self.name} has gone ({why}); plug it in and reconnect")


def ports() -> list[Any]:
    """Return what pyserial knows of the serial ports that there are."""
    return list(require("serial.tools.list_ports", "serial").comports())


def find_again(name: str, usb_serial: str | None) -> str:
    """Return the port that a device with this USB serial number has now, or the same name if it has none."""
    if usb_serial is None or os.path.exists(name):
        return name
    return next((port.device for port in ports() if port.serial_number == usb_serial), name)


def _why_not(name: str, baud: int, error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code == errno.ENOENT:
        return f"port: {name} does not exist; there are: {', '.join(p.device for p in ports()) or 'none'}"
    if code in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in str(error):
        return f"port: {name} is in use by another program; close that first"
    if code == errno.EACCES:
        return f"port: {name} may not be opened; allowed for its group, often dialout or uucp"
    if isinstance(error, ValueError | OverflowError):
        return _not_a_rate(baud)
    return f"port: {name} cannot be used as a serial port ({str(error).splitlines()[0]})"


def _check(name: Any, baud: Any) -> None:
    """Refuse what pyserial takes for something else: None is a port that is not open yet, 0 baud hangs up."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise PortError(f"port: {name!r}; allowed: a name such as /dev/ttyACM0")
    if isinstance(baud, bool) or not isinstance(baud, Integral) or baud < 1:
        raise PortError(_not_a_rate(baud))


def _not_a_rate(baud: Any) -> str:
    return f"baud: {baud!r}; allowed: what the port can do, such as 9600, 115200, 921600"
