"""Losses that kernels know, and what they change by with the outputs."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.maths.jit import jit_exact_rows, jit_step

Array = NDArray[Any]

FORWARD_ONLY, PROVIDED, MSE, HUBER, CROSS_ENTROPY = range(-1, 4)
LOSSES: Final = MappingProxyType({"mse": MSE, "huber": HUBER, "cross_entropy": CROSS_ENTROPY})
"""Names of losses, and the codes by which kernels choose."""


@jit_step
def add_loss(code: Any, out: Array, target: Array, weight: Array, d_out: Array, losses: Array) -> None:
    """Set ``d_out`` to the change of the loss with the outputs, and add the loss of each lane to ``losses``.

    Args:
        code: one of ``LOSSES``; with ``PROVIDED``, d_out is left as it is.
        out: outputs ``[T, q, L]``.
        target: targets ``[T, q, L]``; probabilities for the cross-entropy, whose outputs are logits.
        weight: of each step, ``[T, L]``, or of all, ``[1, L]``.
        d_out: written, as ``out``.
        losses: float64 ``[L]``.

    """
    for t in range(out.shape[0]):
        w = weight[t if weight.shape[0] > 1 else 0]
        if code == MSE:
            for k in range(out.shape[1]):
                _square(out[t, k], target[t, k], w, d_out[t, k], losses)
        elif code == HUBER:
            for k in range(out.shape[1]):
                _huber(out[t, k], target[t, k], w, d_out[t, k], losses)
        elif code == CROSS_ENTROPY:
            _cross_entropy(out[t], target[t], w, d_out[t], losses)


@jit_exact_rows
def _square(out: Array, target: Array, weight: Array, d_out: Array, losses: Array) -> None:
    for p in range(np.uint64(out.shape[0])):
        error = out[p] - target[p]
        slope = weight[p] * error
        d_out[p] = slope + slope
        losses[p] += slope * error


@jit_exact_rows
def _huber(out: Array, target: Array, weight: Array, d_out: Array, losses: Array) -> None:
    """Half the square of an error up to 1, its magnitude less a half beyond (Huber 1964, with delta 1)."""
    for p in range(np.uint64(out.shape[0])):
        error, end = out[p] - target[p], weight.dtype.type(1)
        slope = min(max(error, -end), end)
        d_out[p] = weight[p] * slope
        losses[p] += weight[p] * slope * (error - slope / (end + end))


@jit_step
def _cross_entropy(out: Array, target: Array, weight: Array, d_out: Array, losses: Array) -> None:
    """- sum_k p_k log softmax(out)_k, with the largest logit taken off first, and all in float64."""
    for p in range(out.shape[1]):
        if weight[p] == 0:
            for k in range(out.shape[0]):
                d_out[k, p] = 0
            continue
        largest = -math.inf
        for k in range(out.shape[0]):
            largest = max(largest, float(out[k, p]))
        total, hit, mass = np.float64(0), np.float64(0), np.float64(0)
        for k in range(out.shape[0]):
            total += math.exp(float(out[k, p]) - largest)
            hit += float(target[k, p]) * (float(out[k, p]) - largest)
            mass += float(target[k, p])
        losses[p] += float(weight[p]) * (mass * math.log(total) - hit)
        for k in range(out.shape[0]):
            share = math.exp(float(out[k, p]) - largest) / total
            d_out[k, p] = float(weight[p]) * (mass * share - float(target[k, p]))
