"""The CTRNN's numbers in fixed point: which formats they get, and how far a tau lets a state go in a step.

For P controllers at once: ``p`` holds their parameters by name, float64 ``[P, ...]``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells.fixed.base import GUARD_BITS, FormatOptions, by_inputs, drive_of, refuse
from neuroctl.maths.fixed import ACTIVATION_FRAC_BITS, QFormat, QFormats, widest_frac_bits
from neuroctl.spec import Spec

Array = NDArray[Any]

INTEGRATORS: Final = ("euler", "etd1")
_MAX_Y_FRAC_BITS: Final = 26
_MIN_Y_FRAC_BITS: Final = 8
_MIN_X_FRAC_BITS: Final = 4
MAX_RESIDUAL_BITS: Final = 16


def alphas_of(spec: Spec, tau_s: Array) -> NDArray[np.float64]:
    """Return how far y gets towards net in a step, of the shape of ``tau_s``: dt/tau, of etd1 1 - exp(-dt/tau)."""
    alphas: NDArray[np.float64] = spec.dt_s / tau_s
    if spec.integrator == "euler":
        return alphas
    # Python's expm1: NumPy's differs from it, and from CPU to CPU, in the last bit.
    return np.array([-math.expm1(-alpha) for alpha in alphas.ravel().tolist()]).reshape(alphas.shape)


def stalls(spec: Spec, p: Mapping[str, Array], u_lsb: Array | float, y_frac_bits: Array) -> NDArray[np.bool_]:
    """Whether a neuron is slower than 2^-16, or would stop short of net by more than half an input's least change.

    y stays where it is while alpha (net - y) rounds to 0: up to half of y's last bit, over alpha.
    """
    alphas = alphas_of(spec, p["tau_s"])
    stalled = np.ldexp(0.5, -y_frac_bits)[:, None] / alphas
    finest = np.abs(p["W_in"]).max(axis=-1) * np.expand_dims(u_lsb, -1)
    recurrent = np.abs(p["W"]).max(axis=-1) * 2.0**-ACTIVATION_FRAC_BITS
    finest = np.where(finest > 0, finest, np.where(recurrent > 0, recurrent, np.inf))
    slow: NDArray[np.bool_] = (stalled > 0.5 * finest).any(axis=-1) | (alphas.min(axis=-1) < 2.0**-MAX_RESIDUAL_BITS)
    return slow


def y_format(spec: Spec, p: Mapping[str, Array], u_format: QFormat | QFormats, options: FormatOptions) -> QFormats:
    """Give y the most fractional bits that leave y, net, their difference and y + bias below 2^29.

    Raises:
        ExportError: too few are left.

    """
    drive = drive_of(p["W_in"], u_format)
    low, high = np.minimum(p["W"], 0).sum(axis=-1) - drive, np.maximum(p["W"], 0).sum(axis=-1) + drive
    if "y0" in p:
        low, high = np.minimum(low, p["y0"]), np.maximum(high, p["y0"])
    largest = np.maximum(high, -low)
    spread, shifted = (high - low).max(axis=-1), (largest + np.abs(p["bias"])).max(axis=-1)
    reach = np.maximum(spread, shifted)
    frac_bits = widest_frac_bits(reach, GUARD_BITS, _MAX_Y_FRAC_BITS)
    frac_bits = options.state_frac_bits(largest.max(axis=-1), frac_bits)
    allowed = math.ldexp(1.0, GUARD_BITS - 1 - _MIN_Y_FRAC_BITS)
    refuse(
        frac_bits < (_MIN_Y_FRAC_BITS if options.state_bits == 32 else 0),
        lambda at: (
            f"W, W_in, bias: y can reach {reach[at]:g}; allowed in fixed point: less than {allowed:g}"
            + by_inputs(spec, drive[at] * (2 if spread[at] > shifted[at] else 1), reach[at])
        ),
    )
    return QFormats(32, frac_bits)


def gain_format(gain: Array, y_frac_bits: Array) -> QFormats:
    """Give gains the most fractional bits with which g (y + b) still has some, and fits.

    Raises:
        ExportError: they are too large.

    """
    # The clamp of the product, 11 in its own format, has to fit 32 bits too.
    largest = np.abs(gain).max(axis=-1)
    frac_bits = widest_frac_bits(largest, 16, 43 - y_frac_bits)
    refuse(
        y_frac_bits + frac_bits - 16 < _MIN_X_FRAC_BITS,
        lambda at: f"gain: {largest[at]:g} with y in {y_frac_bits[at]} fractional bits; allowed: smaller",
    )
    return QFormats(16, frac_bits)


def alpha_q(spec: Spec, tau_s: Array) -> NDArray[np.int32]:
    """Return how far y gets towards net in a step as mantissa | shift << 16, of the shape of ``tau_s``.

    Raises:
        ExportError: a tau is below dt, or above 2^30 of them.

    """
    alphas = alphas_of(spec, tau_s)

    def told(allowed: str) -> Any:
        return lambda at: f"tau_s[{at[-1]}]: {tau_s[at]:g}; allowed in fixed point: {allowed}"

    # The tolerance admits tau = dt stored in float32; its alpha becomes 65535/65536.
    refuse(alphas > 1.0 + 1e-6, told(f"at least dt_s = {spec.dt_s:g} s"))
    shifts = np.maximum(0, -np.frexp(alphas)[1].astype(np.int64))
    refuse(shifts > 30, told("at most 2^30 dt_s"))
    mantissas = np.minimum(65535, np.floor(np.ldexp(alphas, 16 + shifts) + 0.5).astype(np.int64))
    packed: NDArray[np.int64] = mantissas | shifts << 16
    return packed.astype(np.int32)
