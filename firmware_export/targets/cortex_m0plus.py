"""Arm Cortex-M0+: the M0's instructions in fewer cycles."""

from .base import cortex_m

TARGET = cortex_m("m0plus", "Thumb-1.", unicorn="M0")
