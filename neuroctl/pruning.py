"""Pruning: leaving out neurons that reach no output, which makes the firmware smaller and changes nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import layout
from neuroctl.controller import Controller
from neuroctl.errors import LayoutError, SpecError
from neuroctl.layout import Layout
from neuroctl.quant import QuantController
from neuroctl.spec import Spec

Array = NDArray[Any]

_ALPHA_BYTES: Final = 4  # parameters without a word format: dt/tau as mantissa and shift
_FLOAT_BYTES: Final = 2  # a parameter of a float controller counts as one of 16 bits on the board


def reaches_output(spec: Spec, blocks: Mapping[str, Array]) -> NDArray[np.bool_]:
    """Return bool ``[neurons]``: whether a neuron reaches an output over weights that are not 0.

    If none does, the first one counts, as a controller has at least one.

    Args:
        spec: the controller's spec: a CTRNN, CfC or Jordan network, or an Elman network, IndRNN or GRU with one layer.
        blocks: its parameters by name, see ``Layout.views``.

    Raises:
        SpecError: another cell, or more layers.

    """
    axes = neuron_axes(spec)
    reached = np.zeros(spec.neurons, bool)
    if spec.readout == "identity":
        return ~reached  # every neuron is an output
    read = "W_head.0" if spec.head else "W_out"
    if read in blocks:
        reached |= (np.asarray(blocks[read]) != 0).any(axis=0)
    wired = _wiring(spec, blocks, axes)
    if wired is not None:
        for _ in range(spec.neurons):
            reached |= wired[reached].any(axis=0)
    reached[0] |= not reached.any()
    return reached


def _wiring(spec: Spec, blocks: Mapping[str, Array], axes: Mapping[str, tuple[int, ...]]) -> NDArray[np.bool_] | None:
    """Return bool ``[neurons, neurons]``: whether one has weights on another; None where no cell of the kind has."""
    n = spec.neurons
    if spec.backbone:  # a neuron takes the last layer's numbers, the first one takes neurons
        heads = np.concatenate([blocks["W_ff"], blocks["W_time"]]).reshape(3, n, -1)
        wired: NDArray[np.bool_] = (heads != 0).any(axis=0)
        for name in (*(f"W_backbone.{k}" for k in range(len(spec.backbone) - 1, 0, -1)), "U"):
            wired = np.matmul(wired, np.asarray(blocks[name]) != 0)
        return wired
    own = [name for name in blocks if axes[name] == (0, 1)]
    return (np.asarray(blocks[own[0]]).reshape(-1, n, n) != 0).any(axis=0) if own else None


def prune(controller: Controller) -> Controller:
    """Return a controller without the neurons that reach no output; at least one is left.

    Its outputs are the same up to the rounding of sums with fewer terms.

    Raises:
        SpecError: see ``reaches_output``.
        LayoutError: ``controller`` is no float controller.

    """
    if not isinstance(controller, Controller):
        raise LayoutError(f"controller: {type(controller).__name__}; allowed: a Controller")
    spec, blocks = controller.spec, controller.layout.views(controller.theta)
    kept = reaches_output(spec, blocks)
    if kept.all():
        return Controller(spec, controller.theta, meta=controller.meta)
    mask = None if spec.mask is None else np.array(spec.mask)[np.ix_(kept, kept)].tolist()
    smaller = replace(spec, neurons=int(kept.sum()), mask=mask)
    axes = neuron_axes(spec)
    parts = [_along(block, axes[name], kept).ravel() for name, block in blocks.items()]
    return Controller(smaller, np.concatenate(parts), meta=controller.meta)


def parameter_bytes(controller: Controller | QuantController) -> int:
    """Return the bytes of a controller's parameters on a board, without neurons that reach no output.

    Those of a float controller count as words of 16 bits. Code, which does not depend on the parameters, is left out.

    Raises:
        SpecError: see ``reaches_output``.

    """
    flat = controller.theta_q if isinstance(controller, QuantController) else controller.theta
    blocks = controller.layout.views(flat)
    kept, axes = reaches_output(controller.spec, blocks), neuron_axes(controller.spec)
    total = 0
    for name, block in blocks.items():
        size = _along(block, axes[name], kept).size
        word = _FLOAT_BYTES
        if isinstance(controller, QuantController):
            word = controller.formats[name].bits // 8 if name in controller.formats else _ALPHA_BYTES
        total += size * word
    return total


def neuron_axes(spec: Spec, of: Callable[[Spec], Layout] = layout) -> dict[str, tuple[int, ...]]:
    """Return for each block the axes over neurons: those that grow with the number of neurons.

    Along such an axis a GRU's three gates, or f, g and t of a CfC, follow each other, each of all neurons.

    Args:
        spec: see ``reaches_output``.
        of: function of a spec that returns the layout, of parameters or of genes.

    Raises:
        SpecError: see ``reaches_output``.

    """
    if spec.cell == "hopfield" or spec.layers != 1:
        which = f"{spec.cell!r} with {spec.layers} layers" if spec.layers != 1 else repr(spec.cell)
        raise SpecError(f"cell: {which}; allowed: ctrnn, jordan, cfc, and elman, indrnn and gru with one layer")
    outputs = spec.outputs + (spec.readout == "identity")
    limits = None if spec.readout == "identity" else spec.output_limits
    wider_spec = replace(
        spec, neurons=spec.neurons + 1, outputs=outputs, output_limits=limits, mask=None, output_names=()
    )
    wider = of(wider_spec)
    return {
        name: tuple(axis for axis, length in enumerate(block.shape) if wider[name].shape[axis] != length)
        for name, block in of(spec).blocks.items()
    }


def _along(block: Array, axes: tuple[int, ...], kept: NDArray[np.bool_]) -> Array:
    for axis in axes:
        block = np.compress(np.tile(kept, block.shape[axis] // len(kept)), block, axis=axis)
    return block
