"""Arm Cortex-M3: Thumb-2, no DSP extension."""

from .base import Board, cortex_m

TARGET = cortex_m("m3", "Thumb-2.", unicorn="M3", qemu=Board("mps2-an385"))
