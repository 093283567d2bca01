"""Arm Cortex-M33: Armv8-M with the DSP extension."""

from .base import Board, cortex_m

TARGET = cortex_m("m33", "Uses SMLAD.", unicorn="M33", features="+dsp", qemu=Board("mps2-an505", 0x1000_0000))
