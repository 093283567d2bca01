"""The CTRNN's numbers in fixed point: which formats they get, and how far a tau lets a state go in a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells.fixed.base import GUARD_BITS, Choice
from neuroctl.errors import ExportError
from neuroctl.maths.fixed import ACTIVATION_FRAC_BITS, QFormat, widest_frac_bits
from neuroctl.spec import Spec

Array = NDArray[Any]

# How far y gets towards net in a step, from dt/tau.
ALPHA: Final[Mapping[str, Callable[[float], float]]] = {"euler": lambda r: r, "etd1": lambda r: -math.expm1(-r)}
_MOST_Y_FRAC_BITS: Final = 26
_LEAST_Y_FRAC_BITS: Final = 8
_LEAST_X_FRAC_BITS: Final = 4
MOST_RESIDUAL_BITS: Final = 16


def stalls(spec: Spec, p: Mapping[str, Array], u_format: QFormat, y_frac_bits: int) -> bool:
    """Whether a neuron is slower than 2^-16, or would stop short of net by more than half an input's least change.

    y stays where it is while alpha (net - y) rounds to 0: up to half of y's last bit, over alpha.
    """
    alphas = np.array([ALPHA[spec.integrator](spec.dt_s / float(tau)) for tau in p["tau_s"]])
    stalled = np.ldexp(0.5, -y_frac_bits) / alphas
    finest = np.abs(p["W_in"]).max(axis=1) * u_format.lsb
    recurrent = np.abs(p["W"]).max(axis=1) * 2.0**-ACTIVATION_FRAC_BITS
    finest = np.where(finest > 0, finest, np.where(recurrent > 0, recurrent, np.inf))
    return bool((stalled > 0.5 * finest).any() or alphas.min() < 2.0**-MOST_RESIDUAL_BITS)


def y_format(p: Mapping[str, Array], u_format: QFormat, choice: Choice) -> QFormat:
    """Give y the most fractional bits that leave y, net, their difference and y + bias below 2^29.

    Raises:
        ExportError: too few are left.

    """
    drive = np.abs(p["W_in"]).sum(axis=1) * -u_format.low * u_format.lsb
    low, high = np.minimum(p["W"], 0).sum(axis=1) - drive, np.maximum(p["W"], 0).sum(axis=1) + drive
    reach = max(float((high - low).max()), float((np.maximum(high, -low) + np.abs(p["bias"])).max()))
    frac_bits = widest_frac_bits(reach, GUARD_BITS, _MOST_Y_FRAC_BITS)
    least = _LEAST_Y_FRAC_BITS if choice.state_bits == 32 else 0
    frac_bits = choice.state_frac_bits(float(np.maximum(high, -low).max()), frac_bits)
    if frac_bits < least:
        most = math.ldexp(1.0, GUARD_BITS - 1 - _LEAST_Y_FRAC_BITS)
        raise ExportError(f"W, W_in, bias: y can reach {reach:g}; allowed in fixed point: less than {most:g}")
    return QFormat(32, frac_bits)


def gain_format(gain: Array, y_frac_bits: int) -> QFormat:
    """Give gains the most fractional bits with which g (y + b) still has some, and fits.

    Raises:
        ExportError: they are too large.

    """
    # The clamp of the product, 11 in its own format, has to fit 32 bits too.
    frac_bits = widest_frac_bits(float(np.abs(gain).max()), 16, 43 - y_frac_bits)
    if y_frac_bits + frac_bits - 16 < _LEAST_X_FRAC_BITS:
        raise ExportError(f"gain: {np.abs(gain).max():g} with y in {y_frac_bits} fractional bits; allowed: smaller")
    return QFormat(16, frac_bits)


def alpha_q(spec: Spec, tau_s: Array) -> NDArray[np.int32]:
    """Return how far y gets towards net in a step as mantissa | shift << 16.

    Raises:
        ExportError: a tau is below dt, or above 2^30 of them.

    """
    packed = []
    for i, tau in enumerate(tau_s):
        alpha = ALPHA[spec.integrator](spec.dt_s / float(tau))
        # The tolerance admits tau = dt stored in float32; its alpha becomes 65535/65536.
        if alpha > 1.0 + 1e-6:
            raise ExportError(f"tau_s[{i}]: {tau:g}; allowed in fixed point: at least dt_s = {spec.dt_s:g} s")
        shift = max(0, -math.frexp(alpha)[1])
        mantissa = min(65535, math.floor(math.ldexp(alpha, 16 + shift) + 0.5))
        if shift > 30:
            raise ExportError(f"tau_s[{i}]: {tau:g}; allowed in fixed point: at most 2^30 dt_s")
        packed.append(mantissa | shift << 16)
    return np.array(packed, np.int32)
