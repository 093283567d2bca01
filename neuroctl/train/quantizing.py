"""Quantizing a controller by sequences that each begin at a reset."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuroctl.checks import shown
from neuroctl.controller import Controller
from neuroctl.errors import TrainingError
from neuroctl.fixed_point import FixedPointConfig
from neuroctl.quant_controller import QuantController
from neuroctl.train.dataset import checked
from neuroctl.train.gradients import Gradient


def quantize(
    controller: Controller,
    inputs: Any,
    *,
    mask: Any = None,
    fixed_point: FixedPointConfig | None = None,
    threads: int | None = None,
) -> QuantController:
    """Return the integer form of a controller, with ReLU's formats chosen by sequences.

    ``Controller.quantize`` takes one recording without resets; here each sequence begins at one, as in training. What
    is trained in fixed point starts from this controller, see ``fit``.

    Args:
        controller: to quantize; it stays as it is.
        inputs: numbers ``[T, B, inputs]``, or a list of B arrays ``[T_b, inputs]``.
        mask: weights of steps ``[T, B]``, or a list of B arrays; None: all count.
        fixed_point: storage; None: 16-bit weights and 32-bit state.
        threads: how many to use; None: one a core.

    Raises:
        TrainingError: no controller, or data that are not allowed; the message names them.
        ExportError: a range is too wide for fixed point.
        SpecError: the cell has no gradient.

    Example:
        >>> spec = nc.Spec(cell="elman", inputs=1, neurons=4, outputs=1, dt_s=0.01)
        >>> u = np.random.default_rng(0).standard_normal((30, 20, 1)).astype(np.float32)
        >>> quantize(nc.Controller(spec, seed=0), u, fixed_point=FixedPointConfig(weight_bits=8))
        <QuantController elman: 1 input, 4 neurons, 1 output, dt_s 0.01, 29 parameters, fixed point>

    """
    if not isinstance(controller, Controller):
        raise TrainingError(f"controller: {shown(controller)}; allowed: a Controller")
    spec, theta = controller.spec, controller.theta
    many = isinstance(inputs, (list, tuple))
    shapes = [np.shape(each)[:-1] for each in inputs] if many else [np.shape(inputs)[:-1]]
    targets = [np.zeros((*shape, spec.outputs), spec.dtype) for shape in shapes]
    data = checked(spec, inputs, targets if many else targets[0], mask)
    config = FixedPointConfig() if fixed_point is None else fixed_point
    recorded = data.inputs.reshape(-1, spec.inputs)
    gradient = Gradient(spec, threads=threads, fixed_point=config, calibration=recorded)
    gradient.refine(theta, data.inputs, data.mask)
    return gradient.quantized(theta)
