"""Arm Cortex-M0+ and M0: Thumb-1, 32-bit multiply in hardware, no long multiply, no unaligned access."""

from firmware_export.targets.base import Target

TARGET = Target(
    name="cortex-m0plus",
    hint="Compile with -mcpu=cortex-m0plus -mthumb -O2, or -Os for size.",
    cpu="cortex_m0plus",
    emulator="M0",
)
