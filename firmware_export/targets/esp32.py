"""ESP32, -S2 and -S3 (Xtensa): a 32-bit core with hardware multiply. Not emulated here; the generic C path."""

from .base import Target

TARGET = Target(
    name="esp32", hint="The generic 32-bit C path; verify does not run it, the self-test does on the board."
)
