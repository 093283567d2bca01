"""Arm Cortex-M0: Thumb-1, 32-bit multiply in hardware or in 32 cycles, no long multiply, no unaligned access."""

from .base import cortex_m

TARGET = cortex_m("m0", "Thumb-1.", unicorn="M0")
