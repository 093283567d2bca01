"""Arm Cortex-M55: Armv8.1-M; its vector extension is left to the compiler."""

from .base import Board, cortex_m

TARGET = cortex_m("m55", "Uses SMLAD.", qemu=Board("mps3-an547"))
