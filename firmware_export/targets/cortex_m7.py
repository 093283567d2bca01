"""Arm Cortex-M7: the M4's instructions, two at a time."""

from .base import Board, cortex_m

TARGET = cortex_m("m7", "Uses SMLAD.", unicorn="M7", qemu=Board("mps2-an500"))
