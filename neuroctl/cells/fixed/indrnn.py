"""IndRNN in fixed point: formats, the integer step, and the range of all it computes.

h and x, a layer's output, are int32 in net's format: what is remembered keeps all its bits, and ReLU and hard tanh
lose none. The next layer and the readout take x narrowed to int16, the format "s". u is kept as the decay 1 - u.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import calls
from neuroctl.cells.axes import first_axes
from neuroctl.cells.base import (
    Bounds,
    Formats,
    Integer,
    Persistent,
    Population,
    Quantized,
    Ranges,
    Taped,
)
from neuroctl.cells.fixed import base
from neuroctl.cells.fixed import dense as d
from neuroctl.cells.fixed.ranges import RANGE_CEILING, Range, hull, plus, row_ranges, shifted, signed
from neuroctl.cells.indrnn import layout
from neuroctl.layout import Layout, cache_layout
from neuroctl.maths.activations import RELU, TANH
from neuroctl.maths.fixed import ACTIVATION_FRAC_BITS, ARGUMENT_FRAC_BITS, QFormat, QFormats, round_shift, saturate
from neuroctl.maths.jit import jit_integer, jit_integer_inline
from neuroctl.maths.packs import store, wide
from neuroctl.maths.vectors import U
from neuroctl.spec import Spec

Array = NDArray[Any]

_LAYERS, _RESIDUAL = d.OWN, d.OWN + 1
_TO_NET: Final = ACTIVATION_FRAC_BITS - ARGUMENT_FRAC_BITS  # less net's own bits beyond the argument's
_MAX_STEPS: Final = 100.0
"""ReLU neurons with u near 1 or above saturate at what that many steps add up, if the spec has no horizon."""


@cache_layout
def state_layout_q(spec: Spec) -> Layout:
    """Blocks of the integer state: h of each layer, the output x of the last one, and x narrowed, s."""
    n = spec.neurons
    return Layout(*((f"h.{layer}", (n,), "1") for layer in range(spec.layers)), ("x", (n,), "1"), ("s", (n,), "1"))


@jit_integer
def step_q(theta: Array, state: Array, u: Array, y: Array, ints: Array) -> None:
    """Advance one time step in integers, layer by layer: h = f_q((W_in x) >> + u h + bias); out = (W_out x + b) >>.

    Saturates at four named places: inputs into int16, ReLU and hard tanh at their limit, x into int16, out.

    Arguments are as ``cells.base.Integer`` says; ``ints``: see ``cells.fixed.dense``; of its own layers and residual;
    at the end each layer's shift, then each largest h.
    """
    n, m, q, layers = (
        U(base.size(ints, d.N)),
        U(base.size(ints, d.M)),
        U(base.size(ints, d.OUT)),
        U(base.size(ints, _LAYERS)),
    )
    x, s, layer_ints = layers * n, (layers + U(1)) * n, U(d.READOUT + base.READOUT_INTS) + U(2) * q
    residual, s_shift = base.size(ints, _RESIDUAL), wide(ints, U(d.S_SHIFT))
    w_in = U(0)
    for layer in range(layers):
        cols = m if layer == 0 else n
        rec, h = w_in + n * cols, layer * n
        shift, high = wide(ints, layer_ints + layer), wide(ints, layer_ints + layers + layer)
        for i in range(n):
            if layer == 0:
                drive = base.drive_q(theta, w_in + i * m, u, m)
            else:
                drive = base.matvec_q(theta, w_in + i * n, state, s, n)
            net = round_shift(drive, shift) + wide(theta, rec + n + i)
            store(state, h + i, _keep(net + d.decayed_q(wide(state, h + i), wide(theta, rec + i)), high, ints))
        for i in range(n):
            after = wide(state, h + i)
            if layer > 0 and residual != 0:
                after = after + wide(state, x + i)
            store(state, x + i, after)
            store(state, s + i, saturate(round_shift(after, s_shift), -32767, 32767))
        w_in = rec + U(2) * n
    base.readout_q(theta, w_in, state, s, n, y, q, base.size(ints, d.AFFINE), ints, d.READOUT)


@jit_integer_inline
def _keep(net: Any, high: Any, ints: Array) -> Any:
    """Return the activation of net, in net's own format."""
    code = base.size(ints, d.CODE)
    if code == TANH:
        return round_shift(d.activate_q(net, ints), _TO_NET - wide(ints, U(d.ARGUMENT_SHIFT)))
    else:  # noqa: RET505
        low = -high if code != RELU else 0 * high
        return saturate(net, low, high)


def _h_reaches(spec: Spec, p: d.Blocks, u_reach: Array | float, most: Array) -> tuple[list[Array], Array, Array]:
    """Return each layer's largest h (of ReLU a power of two, at most ``most``), the largest x, and the largest sum."""
    lanes = len(p["bias.0"])
    x_reach, skip, h_reaches, x_most, sum_most = np.full(lanes, u_reach), np.zeros(lanes), [], *np.zeros((2, lanes))
    for layer in range(spec.layers):
        bias, u = p[f"bias.{layer}"], p[f"u.{layer}"]
        driven = np.abs(p[f"W_in.{layer}"]).sum(axis=-1) * x_reach[:, None]
        h_reach = np.ones(lanes)
        if spec.activation == "relu":
            steps = float(spec.horizon or _MAX_STEPS)
            h = np.maximum(driven + bias, 0.0) * np.minimum(steps, 1.0 / np.maximum(1.0 - np.maximum(u, 0.0), 1e-9))
            h_most = np.maximum(h.max(axis=-1), d.largest(p, f"h0.{layer}"))
            h_reach = np.minimum(most, _next_power_of_two(np.maximum(h_most, 2.0**-20)))
        h_reaches.append(h_reach)
        x_reach = h_reach + (skip if spec.residual and layer > 0 else 0.0)
        skip = x_reach
        # What decays is subtracted, so both it and what it leaves have to fit.
        sums = driven + np.abs(bias) + h_reach[:, None] * np.maximum(np.abs(1.0 - u), np.abs(u))
        x_most, sum_most = np.maximum(x_most, x_reach), np.maximum(sum_most, sums.max(axis=-1))
    return h_reaches, x_most, sum_most


def _next_power_of_two(x: Array) -> Array:
    """Return the least powers of two that are not below x."""
    mantissa, exponent = np.frexp(x)
    power: Array = np.ldexp(1.0, exponent - (mantissa == 0.5))
    return power


def quantize(spec: Spec, theta: Array, u_format: QFormat | QFormats, options: base.FormatOptions) -> Quantized:
    """Choose the formats of all blocks of theta ``[P, n_params]``; return them with theta_q.

    Raises:
        ExportError: a range is too wide for the words.

    """
    theta = options.rounded(layout(spec), theta)
    p, u_reach = layout(spec).rows(theta.astype(np.float64)), -u_format.low * u_format.lsb
    h_reaches, x_reach, sum_reach = _h_reaches(spec, p, u_reach, np.full(len(theta), np.inf))
    s, s_reach = d.s_format(spec, x_reach, options)
    if (s_reach < x_reach).any():  # asked for: h saturates earlier, and all else follows
        most = np.where(s_reach < x_reach, s_reach, np.inf)
        h_reaches, x_reach, sum_reach = _h_reaches(spec, p, u_reach, most)
    reach = np.maximum(sum_reach, x_reach)

    def drive() -> Array:
        """Return the inputs' part, with what they bring to h: all that is not there without them."""
        _, x_most, sum_most = _h_reaches(spec, p, 0.0, np.full(len(theta), np.inf))
        rest: Array = (reach - np.maximum(sum_most, x_most))[:, None]
        return rest

    net = d.net_format(spec, reach, drive, "W_in, u, bias")
    h_most = np.max(h_reaches, axis=0)
    net = QFormats(32, options.state_frac_bits(h_most, net.frac_bits))
    base.refuse(
        net.frac_bits < 0,
        lambda at: f"W_in, u, bias: h can reach {h_most[at]:g}; allowed with state_bits 16: less than 32767",
    )
    formats = {"u": d.input_formats(u_format, len(theta)), "net": net, "s": s}
    for layer, h_reach in enumerate(h_reaches):
        x, x_high = (formats["u"], -u_format.low) if layer == 0 else (s, base.Q15_HIGH + 1)
        formats[f"W_in.{layer}"] = d.weights(options, f"W_in.{layer}", p[f"W_in.{layer}"], x, x_high, net)
        formats[f"bias.{layer}"] = net
        formats[f"h.{layer}"] = QFormats(np.maximum(2, np.frexp(h_reach)[1] + net.frac_bits), net.frac_bits)
        formats |= {f"h0.{layer}": formats[f"h.{layer}"]} if f"h0.{layer}" in p else {}
    formats |= base.readout_formats(spec, p, options, s, x_reach)
    return formats, quantize_theta(spec, theta, formats)


def quantize_theta(spec: Spec, theta: Array, formats: Population) -> NDArray[np.int32]:
    """Return theta in given formats.

    Raises:
        ExportError: a u is beyond -7 to 9.

    """
    return d.quantized(layout(spec), theta, formats, [f"u.{layer}" for layer in range(spec.layers)])


def ints_q(spec: Spec, formats: Population) -> NDArray[np.int64]:
    """Return sizes, shifts and limits; see ``cells.fixed.dense`` and ``step_q``."""
    layers = range(spec.layers)
    shifts = [d.sum_shift(formats, f"W_in.{layer}", "u" if layer == 0 else "s") for layer in layers]
    one = np.int64(1) << formats["net"].frac_bits
    highs = [formats[f"h.{layer}"].high if spec.activation == "relu" else one for layer in layers]
    sizes = (spec.layers, int(spec.residual), 0)
    return d.dense_ints(spec, formats, "W_in.0", 0, sizes, (*shifts, *highs))


def ranges_q(spec: Spec, formats: Population, theta_q: NDArray[np.int32], ints: NDArray[np.int64]) -> Ranges:
    """Return the range of each intermediate of ``step_q``, over all int16 inputs and all h within their limits.

    Returned by name, such as ``"net, layer 0"``, in raw integers of each intermediate's own format; arguments as in
    ``cells.base.Integer``.
    """
    layer_ints, s_shift = ints[:, d.READOUT + base.READOUT_INTS + 2 * spec.outputs :], ints[:, d.S_SHIFT]
    p = layout(spec).rows(theta_q.astype(np.int64))
    ranges: dict[str, Range] = {}
    narrow = d.input_range(formats)
    x = narrow  # not read before the first layer has set it
    for layer in range(spec.layers):
        shift, high = layer_ints[:, layer], layer_ints[:, spec.layers + layer]
        low = 0 * high if spec.activation == "relu" else -high
        drive = row_ranges(p[f"W_in.{layer}"], *narrow)
        h = d.from_start((low, high), p, f"h0.{layer}")
        least, most = h[0][:, None], h[1][:, None]
        lost = _lost(d.unpack_decay(p[f"u.{layer}"]), least, most)
        kept = np.minimum(least, least - lost[1]), np.maximum(most, most - lost[0])
        x = (low, high) if layer == 0 or not spec.residual else plus((low, high), x)
        own_ranges = d.net_ranges(drive, shift, kept, p[f"bias.{layer}"])
        own_ranges |= {"lost": hull(lost), "h": h, "x": x}
        ranges |= {f"{name}, layer {layer}": range_ for name, range_ in own_ranges.items()}
        s = shifted(x, s_shift)
        narrow = np.maximum(-base.Q15_HIGH, s[0])[:, None], np.minimum(base.Q15_HIGH, s[1])[:, None]
    if spec.readout == "affine":
        ranges |= base.readout_ranges(spec, formats, p["W_out"], p["b_out"], narrow)
    return ranges


def _lost(d_: Array, low: Array, high: Array) -> Range:
    """Return the range of d h for h in [low, high]; rounding adds at most 8, when d is above 4."""
    ends = np.clip([d_ * low, d_ * high, 0.0 * d_], -RANGE_CEILING, RANGE_CEILING)
    return np.floor(ends.min(axis=0)).astype(np.int64) - 8, np.ceil(ends.max(axis=0)).astype(np.int64) + 8


def persistent_q(spec: Spec, formats: Formats, theta_q: NDArray[np.int32], bounds: Bounds) -> Persistent:
    """Return h of each layer; all in one storage, as C has them in one array."""
    reach = [bounds[f"h, layer {layer}"] for layer in range(spec.layers)]
    storage, *_ = signed(min(low for low, _ in reach), max(high for _, high in reach))
    return {f"h.{layer}": (storage, low, high) for layer, (low, high) in enumerate(reach)}


def tape_q(spec: Spec) -> Taped:
    """Return h of each layer; with ``residual`` x.k, the sum of h up to layer k."""
    h = [(f"h.{layer}", f"h.{layer}") for layer in range(spec.layers)]
    own = {name: ((name, form),) for name, form in h}
    return own | ({f"x.{k}": tuple(h[: k + 1]) for k in range(1, spec.layers)} if spec.residual else {})


INTEGER: Final = Integer(
    quantize=quantize,
    quantize_theta=quantize_theta,
    state_layout_q=state_layout_q,
    ints_q=ints_q,
    ranges_q=ranges_q,
    persistent_q=persistent_q,
    step_prepared_q=step_q,
    step_q=step_q,
    rollout_q=calls.rollout_q("indrnn", step_q),
    tape_q=tape_q,
    io_axes=first_axes,
)
