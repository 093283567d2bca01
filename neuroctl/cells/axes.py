"""Which numbers of a cell count inputs or outputs, for formats of their own: see ``base.Integer.io_axes``."""

from __future__ import annotations

from collections.abc import Mapping

from neuroctl.spec import Spec

Axes = Mapping[str, tuple[str, ...]]
"""What each axis of a block counts, ``"u"``, ``"y"`` or neither, by its format's name."""


def dense_axes(spec: Spec) -> Axes:
    """Return the axes of a cell in which W_in alone takes the inputs, and none the outputs."""
    return {"u": ("u",), "W_in": ("", "u"), "W_out": ("y", ""), "b_out": ("y",), "out": ("y",)}


def first_axes(spec: Spec) -> Axes:
    """Return the axes of a cell in which W_in.0, of the first of its layers, takes the inputs."""
    return {"W_in.0" if name == "W_in" else name: axes for name, axes in dense_axes(spec).items()}


def layered_axes(spec: Spec) -> Axes:
    """Return the axes of a cell whose blocks are named as ``cells.stack`` does."""
    return dense_axes(spec) if spec.layers == 1 else first_axes(spec)
