"""The table of cells, and what the rest of the library asks of a cell by its Spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.cells import base, cfc, ctrnn, elman, fixed, gru, hopfield, indrnn, jordan, layered
from neuroctl.cells.base import Adjoint, Cell, Integer
from neuroctl.checks import array, integer, shown
from neuroctl.errors import ExportError, LayoutError, SpecError
from neuroctl.layout import Layout
from neuroctl.spec import Spec

_TABLE = (
    (ctrnn.CELL, fixed.ctrnn.INTEGER),
    (indrnn.CELL, fixed.indrnn.INTEGER),
    (elman.CELL, fixed.elman.INTEGER),
    (jordan.CELL, fixed.jordan.INTEGER),
    (hopfield.CELL, fixed.hopfield.INTEGER),
    (gru.CELL, fixed.gru.INTEGER),
    (cfc.CELL, fixed.cfc.INTEGER),
)
CELLS = MappingProxyType({cell.name: replace(cell, integer=form) for cell, form in _TABLE})


def cell_of(spec: Spec) -> Cell:
    """Return the spec's row of ``CELLS``.

    Raises:
        SpecError: spec is no Spec, such as the dict that one is made of.

    """
    if not isinstance(spec, Spec):
        raise SpecError(f"spec: {shown(spec)}; allowed: a Spec, such as Spec(**fields)")
    return _layered(spec.cell) if spec.dense else CELLS[spec.cell]


@cache
def _layered(name: str) -> Cell:
    cell = CELLS[name]
    around = layered.layered(cell)
    return replace(around, integer=fixed.layered.layered_q(cell, around))


def integer_of(spec: Spec) -> Integer:
    """Return the integer form of the spec's cell.

    Raises:
        ExportError: it has none.
        SpecError: spec is no Spec.

    """
    form = cell_of(spec).integer
    if form is None:
        with_form = ", ".join(name for name, cell in CELLS.items() if cell.integer is not None)
        raise ExportError(f"cell: {spec.cell!r}; allowed in fixed point: {with_form}")
    return form


def adjoint_of(spec: Spec) -> Adjoint:
    """Return the adjoint of the spec's cell.

    Raises:
        SpecError: it has none, or spec is no Spec.

    """
    adjoint = cell_of(spec).adjoint
    if adjoint is None:
        with_adjoint = ", ".join(name for name, cell in CELLS.items() if cell.adjoint is not None)
        raise SpecError(f"cell: {spec.cell!r}; allowed for training by gradient: {with_adjoint}")
    return adjoint


def step_ints(spec: Spec) -> NDArray[np.int64]:
    """Return what a step of the spec's cell needs in whole numbers."""
    return base.step_ints(spec, cell_of(spec))


def step_floats(spec: Spec) -> NDArray[Any]:
    """Return what a step of the spec's cell needs in numbers of the spec's dtype."""
    return base.step_floats(spec, cell_of(spec))


def initial_blocks(spec: Spec) -> Mapping[str, str]:
    """Return which block of theta each block of the state starts from; none where the initial state is zeros."""
    return cell_of(spec).initial(spec) if spec.initial_state == "learned" else {}


def start_state(spec: Spec, theta: NDArray[Any]) -> NDArray[Any]:
    """Return the state after reset: zeros, or as learned; the held outputs clipped into the output limits.

    Args:
        spec: the controller.
        theta: parameters ``[n_params]``, or ``[n_params, P]`` of P controllers.

    Returns:
        ``[states]``; ``[states, P]`` of P controllers whose initial state is learned, as they differ.

    """
    blocks, state_blocks, learned = layout(spec), cell_of(spec).state_layout(spec), initial_blocks(spec)
    state = np.zeros((state_blocks.size, *(theta.shape[1:] if learned else ())), dtype=spec.dtype)
    if spec.output_limits is not None:
        rest = [min(max(0.0, low), high) for low, high in spec.output_limits]
        state[state_blocks["held"].part] = np.reshape(rest, (-1, *(1 for _ in state.shape[1:])))
    for name, source in learned.items():
        state[state_blocks[name].part] = theta[blocks[source].part]
    return state


def layout(spec: Spec) -> Layout:
    """Return the named blocks of the spec's parameter vector theta."""
    return cell_of(spec).layout(spec)


def genes(spec: Spec) -> Layout:
    """Return the named blocks of the genome that ``decode`` takes."""
    return cell_of(spec).genes(spec)


def genome_size(spec: Spec) -> int:
    """Return the number of genes that ``decode`` takes."""
    return genes(spec).size


def decode(spec: Spec, x: ArrayLike) -> NDArray[Any]:
    """Map a genome to theta: constraints and scales live here and nowhere else. Pure.

    Args:
        spec: the controller.
        x: genome, float64 ``[genome_size(spec)]``, or a population ``[P, genome_size(spec)]``; finite, unit-scaled:
            the origin is a sensible network and a standard deviation of 0.5 explores well.

    Returns:
        theta ``[layout(spec).size]``, or ``[P, layout(spec).size]``, in the spec's dtype.

    Raises:
        LayoutError: x has the wrong length or holds NaN or Inf, or leads outside theta's bounds.

    """
    size = genome_size(spec)
    genome = np.asarray(array("genome", x, f"({size},) or (P, {size}) of finite numbers"), np.float64)
    if genome.ndim not in (1, 2) or genome.shape[-1] != size or not np.isfinite(genome).all():
        raise LayoutError(f"genome: shape {genome.shape}; allowed: ({size},) or (P, {size}) of finite numbers")
    with np.errstate(over="ignore"):
        theta = cell_of(spec).decode(spec, genome).astype(spec.dtype)
    layout(spec).check(theta.T)
    return theta


def initial(spec: Spec, seed: int) -> NDArray[Any]:
    """Return a random theta: the decoded genome of normal deviates with standard deviation 0.5.

    Raises:
        SpecError: seed is no integer >= 0.

    """
    rng = np.random.default_rng(integer("seed", seed, 0, error=SpecError))
    return decode(spec, 0.5 * rng.standard_normal(genome_size(spec)))
