"""NAME OF THE CORE: what sets it apart, in one line. Copy this file, fill it in, add it to ``TARGETS``.

1. ``cpu``: a name that ``python -m ziglang cc -target thumb-freestanding-eabi -mcpu=`` knows.
2. ``emulator``: the part of unicorn's ``UC_CPU_ARM_CORTEX_...`` behind the underscore (M0, M3, M4, M7, M33).
3. ``firmware_export/targets/__init__.py``: import the file and add one line to ``TARGETS``. The tests run over the
   table: ``python -m pytest tests/firmware`` now builds for the core and compares every bit.

A core of another family also needs a row in ``firmware_export/proof``: how to link for it and how to emulate it.
"""

from firmware_export.targets.base import Target

TARGET = Target(
    name="cortex-mX",
    hint="Compile with -mcpu=cortex-mX -mthumb -O2.",
    cpu="cortex_mX",
    emulator="MX",
)
