"""Arm Cortex-M4: Thumb-2 with the DSP extension, two 16-bit products an instruction."""

from firmware_export.targets.base import Target

TARGET = Target(
    name="cortex-m4",
    hint="Compile with -mcpu=cortex-m4 -mthumb -O2, or -Os for size.",
    cpu="cortex_m4",
    emulator="M4",
)
