"""Which numbers of a cell count inputs or outputs, for formats of their own: see ``base.Integer.io_axes``."""

from __future__ import annotations

from collections.abc import Mapping

from neuroctl.spec import Spec

Axes = Mapping[str, tuple[str, ...]]
"""What each axis of a block counts, ``"u"``, ``"y"`` or neither, by its format's name."""


def dense_axes(spec: Spec) -> Axes:
    """Return the axes of a cell in which W_in alone takes the inputs, and none the outputs."""
    return {"u": ("u",), "W_in": ("", "u"), "W_out": ("y", ""), "b_out": ("y",), "out": ("y",)}
