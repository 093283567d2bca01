"""Arm Cortex-M4: Thumb-2 with the DSP extension, two 16-bit products per instruction."""

from .base import Board, cortex_m

TARGET = cortex_m("m4", "Uses SMLAD.", unicorn="M4", qemu=Board("mps2-an386"))
