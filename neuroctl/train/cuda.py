"""Gradients on a GPU: a thread a sequence, each with the loop that the CPU's lanes run.

Memory has lanes last, so that neighboring threads read neighboring numbers; state and carry are a thread's own. A
thread writes a gradient of its own. Where the parameters are shared, a second kernel adds these in the order of the
sequences; so results do not depend on which thread runs when, nor on the size of a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.backends.cuda import sizes
from neuroctl.backends.cuda_device import block_size, cuda
from neuroctl.backends.kernels import build, constants
from neuroctl.spec import Spec
from neuroctl.train.kernel import loop_text
from neuroctl.train.losses import FORWARD_ONLY
from neuroctl.train.places import Places

Array = NDArray[Any]

_STEPS_A_SUM: Final = 32  # between two sums of products: so often each thread reads its gradient and writes it


@dataclass(frozen=True)
class Lanes:
    """What comes of B sequences; arrays on the device.

    Args:
        losses: float64 ``[B]``.
        grads: each sequence's ``[K, B]``, or their sum ``[K, 1]``.
        outputs: ``[T, q, B]``.
        state: after the last step, ``[states, B]``.
        carry: change with what was before the first step, ``[carry, B]``.
        inputs: change with the scaled inputs, ``[T, m, B]``; None unless asked for.

    """

    losses: Any
    grads: Any
    outputs: Any
    state: Any
    carry: Any
    inputs: Any


class Device:
    """Gradients of one spec on a GPU.

    Args:
        spec: of the controllers.
        places: of its adjoint.
        threads: of a block, a multiple of 32 up to 1024; None for 64.

    Raises:
        LayoutError: threads are not allowed.
        SpecError: a cell without a gradient.

    """

    def __init__(self, spec: Spec, places: Places, threads: int | None):
        self._block = block_size(threads)
        self._spec, self._places = spec, places

    def run(
        self, loss: int, theta: Array, start: Array, inputs: Array, targets: Array, weight: Array,
        changes: Array | None, segment: int, forward_only: bool, with_inputs: bool,
    ) -> Lanes:  # fmt: skip
        """Go through time, for outputs and losses, and back.

        Args:
            loss: its code, one of ``train.losses``.
            theta: ``[K]``, or ``[K, B]`` of as many controllers as there are sequences.
            start: state before the first step, ``[1, states]`` or ``[B, states]``.
            inputs: ``[T, B, m]``.
            targets: ``[T, B, q]``; or ``[0, B, q]`` where the loss needs none.
            weight: of a step in the loss, ``[T, B, 1]`` or ``[1, 1, 1]``.
            changes: of the loss with the outputs, ``[T, B, q]``; or None, for the loss to tell.
            segment: steps between two states that are kept.
            forward_only: whether not to go back.
            with_inputs: whether the changes with the inputs are asked for.

        """
        (steps, lanes, m), q, places = inputs.shape, targets.shape[2], self._places
        block = min(_STEPS_A_SUM, segment)

        def rows(*shape: int, dtype: Any = self._spec.dtype) -> Any:
            return cuda.device_array((*shape, lanes), dtype)

        def lanes_last(values: Array) -> Any:
            return cuda.to_device(np.ascontiguousarray(values.swapaxes(1, 2)))

        d_out = rows(steps, q) if changes is None else lanes_last(changes)
        losses, grad, out = rows(dtype=np.float64), rows(places.params.size), rows(steps, q)
        state, carry = rows(places.state.size), rows(places.carry.size)
        du = rows(steps * m if with_inputs else 1)
        kernels = cuda_kernels(self._spec, loss)  # a pass forward needs no loss
        kernels.through_time[-(-lanes // self._block), self._block](
            forward_only, cuda.to_device(theta.reshape(len(theta), -1)),
            cuda.to_device(np.ascontiguousarray(start.T)), lanes_last(inputs),
            lanes_last(targets) if len(targets) else d_out, lanes_last(weight),
            segment, block, places.w_in if with_inputs else -1, out, d_out, d_out.reshape(steps * q, lanes), losses,
            rows(-(-steps // segment) + 1, places.state.size), rows((segment + 1) * places.tape_row),
            rows(block * places.deltas_row), grad, du, state, carry,
        )  # fmt: skip
        if theta.ndim == 1:
            each, grad = grad, cuda.device_array((len(theta), 1), theta.dtype)
            kernels.add_lanes[-(-len(theta) // self._block), self._block](each, grad)
        return Lanes(losses, grad, out, state, carry, du.reshape(steps, m, lanes) if with_inputs else None)


@lru_cache(maxsize=64)
def cuda_kernels(spec: Spec, loss: int) -> Any:
    """Return the module with the kernels ``through_time`` and ``add_lanes``: generated, or from the cache.

    The loss is a constant, so that a kernel has the code and the registers of its own loss only.

    Raises:
        SpecError: the cell has no gradient.

    """
    places = Places(spec)
    tables = "".join(f"_{name.upper()} = {constants(getattr(places, name))}\n" for name in _TABLES)
    kernels = _KERNELS.format(
        loss=loss,
        forward=FORWARD_ONLY,
        state=places.state.size,
        carry=places.carry.size,
        tape=places.tape_row,
        deltas=places.deltas_row,
    )
    text = loop_text(spec) + sizes(spec) + tables + kernels
    return build(text, f"cuda_gradient_{spec.cell}_{spec.dtype}")


_TABLES: Final = ("pieces", "products", "sums")

# Lanes' gradients are added in sums of 32: of 4,096 lanes a number is then rounded 160 times, not 4,096 times.
_KERNELS: Final = """

@_kernel
def through_time(
    forward_only, theta, start, u, target, weight, every, block, inputs, out, d_out, d_rows, losses, checkpoints, tape,
    deltas, grad, du, state_out, carry_out,
):
    p = _cuda.grid(1)
    if p >= losses.shape[0]:
        return
    state = _cuda.local.array({state}, _F)
    for k in range({state}):
        state[k] = start[k, p % start.shape[1]]
    carry = _cuda.local.array({carry}, _F)
    for k in range({carry}):
        carry[k] = 0
    for k in range(grad.shape[0]):
        grad[k, p] = 0
    losses[p] = 0
    w = p % weight.shape[2]
    mine, weights, total = theta[:, p % theta.shape[1]], weight[:, 0, w:w + 1], losses[p:p + 1]
    outs, targets, slopes = out[:, :, p:p + 1], target[:, :, p:p + 1], d_out[:, :, p:p + 1]
    run(
        {forward} if forward_only else {loss}, mine, state, u[:, :, p], out[:, :, p], d_rows[:, p], outs, targets,
        weights, slopes, total, checkpoints[:, :, p], every, _cuda.const.array_like(_PIECES), tape[:, p], {tape},
        deltas[:, p], {deltas}, carry, _cuda.const.array_like(_PRODUCTS), _cuda.const.array_like(_SUMS), grad[:, p],
        du[:, p], inputs, _cuda.const.array_like(_INTS), _cuda.const.array_like(_FLOATS), block,
    )
    if forward_only:
        _add_loss({loss}, outs, targets, weights, slopes, total)
    for k in range({state}):
        state_out[k, p] = state[k]
    for k in range({carry}):
        carry_out[k, p] = carry[k]


@_kernel
def add_lanes(each, total):
    k = _cuda.grid(1)
    if k >= each.shape[0]:
        return
    whole = _F(0)
    for first in range(0, each.shape[1], 32):
        part = _F(0)
        for p in range(first, min(first + 32, each.shape[1])):
            part += each[k, p]
        whole += part
    total[k, 0] = whole
"""
