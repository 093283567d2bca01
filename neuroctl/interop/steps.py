"""One step of each cell in a few operators, which ONNX's nodes are, or torch's functions of tensors.

Operators are called by ONNX's names. Every block of theta is one of them, so that gradients by it are possible.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import stack
from neuroctl.cells.base import input_map
from neuroctl.controller import Controller
from neuroctl.errors import InteropError
from neuroctl.spec import Spec

Array = NDArray[Any]
States = dict[str, Any]

ACTIVATIONS: Final = {"tanh": "Tanh", "logistic": "Sigmoid", "relu": "Relu"}
# Slopes lead to the next stage by these shares of a step, and are summed with these weights.
_STAGES: Final = {"heun": ((1.0,), (0.5, 0.5)), "rk4": ((0.5, 0.5, 1.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6))}


class Operators(Protocol):
    """What steps are written in. A value is a node's name, or a tensor ``[batch, width]``."""

    spec: Spec

    def block(self, name: str) -> Any:
        """Return a vector of theta."""

    def times(self, name: str, x: Any) -> Any:
        """Return the product of a matrix ``[to, from]`` of theta with x."""

    def constant(self, values: Any) -> Any:
        """Return numbers that do not change."""

    def op(self, kind: str, *values: Any) -> Any:
        """Return what an elementwise operator of ONNX gives."""

    def split(self, x: Any, sizes: Sequence[int]) -> Sequence[Any]:
        """Return the parts of x, of so many columns each."""

    def joined(self, parts: Sequence[Any]) -> Any:
        """Return parts as one value."""


def check_float(controller: object) -> None:
    """Refuse what is no controller in floats.

    Raises:
        InteropError: it is a quantized one, or something else.

    """
    if not isinstance(controller, Controller):
        allowed = "a Controller, in floats: of a quantized one, that which was quantized"
        raise InteropError(f"controller: {type(controller).__name__}; allowed: {allowed}")


def states_of(spec: Spec) -> dict[str, int]:
    """Return the parts of a state and their widths, in their order.

    Raises:
        InteropError: the cell has no step here.

    """
    if spec.cell not in _STEPS:
        raise InteropError(f"cell: {spec.cell}; allowed: {', '.join(_STEPS)}")
    if spec.cell == "indrnn":
        return {f"h.{layer}": spec.neurons for layer in range(spec.layers)}
    context = (*spec.head, spec.outputs)[0]
    own = {"ctrnn": {"y": spec.neurons}, "jordan": {"context": context}}
    return own.get(spec.cell) or dict.fromkeys(stack.names(spec, "h"), spec.neurons)


def step(o: Operators, obs: Any, state: Any) -> tuple[Any, Any]:
    """Return outputs, and the state after a step."""
    sizes = states_of(o.spec)
    parts = [state] if len(sizes) == 1 else o.split(state, list(sizes.values()))
    z, after = _STEPS[o.spec.cell](o, encoded(o, obs), dict(zip(sizes, parts, strict=True)))
    y = left(o, z)
    return y, after[next(iter(sizes))] if len(sizes) == 1 else o.joined([after[name] for name in sizes])


def encoded(o: Operators, u: Any) -> Any:
    """Return inputs as the cell takes them: scaled, and through the encoder."""
    if o.spec.scale_inputs:
        offset, gain = (o.constant(values) for values in input_map(o.spec))
        u = o.op("Mul", o.op("Sub", u, offset), gain)
    for layer in range(len(o.spec.encoder)):
        u = _layer(o, f"enc.{layer}", u)
    return u


def _layer(o: Operators, name: str, x: Any) -> Any:
    return activated(o, o.spec.dense_activation, _driven(o, x, f"W_{name}", f"b_{name}"))


def activated(o: Operators, name: str | None, x: Any) -> Any:
    """Return an activation function of x."""
    if name in (None, "identity"):
        return x
    if name == "hard_tanh":
        return o.op("Max", o.op("Min", x, o.constant(1.0)), o.constant(-1.0))
    return o.op(ACTIVATIONS[str(name)], x)


def readout(o: Operators, features: Any) -> Any:
    """Return what the cell gives: the outputs, within their limits, or the head's first layer."""
    if o.spec.head:
        return _layer(o, "head.0", features)
    y = features
    if o.spec.readout == "affine":
        y = activated(o, o.spec.output_activation, _driven(o, features, "W_out", "b_out"))
    return _limited(o, y)


def left(o: Operators, z: Any) -> Any:
    """Return the outputs for what the cell gives."""
    if not o.spec.head:
        return z
    for layer in range(1, len(o.spec.head)):
        z = _layer(o, f"head.{layer}", z)
    return _limited(o, activated(o, o.spec.output_activation, _driven(o, z, "W_out", "b_out")))


def _limited(o: Operators, y: Any) -> Any:
    if o.spec.output_limits is None:
        return y
    lows, highs = np.array(o.spec.output_limits).T
    return o.op("Max", o.op("Min", y, o.constant(highs)), o.constant(lows))


def _driven(o: Operators, u: Any, w_in: str = "W_in", bias: str = "bias") -> Any:
    return o.op("Add", o.times(w_in, u), o.block(bias))


def _ctrnn(o: Operators, u: Any, states: States) -> tuple[Any, States]:
    spec, y = o.spec, states["y"]
    alpha = o.op("Div", o.constant(spec.dt_s), o.block("tau_s"))
    if spec.integrator == "etd1":
        alpha = o.op("Sub", o.constant(1.0), o.op("Exp", o.op("Neg", alpha)))
    drive = o.times("W_in", u)

    def active(y: Any) -> Any:
        return activated(o, "logistic", o.op("Mul", o.op("Add", y, o.block("bias")), o.block("gain")))

    def slope(y: Any) -> Any:
        return o.op("Mul", alpha, o.op("Sub", o.op("Add", o.times("W", active(y)), drive), y))

    def moved(start: Any, by: Any, share: float) -> Any:
        return o.op("Add", start, o.op("Mul", by, o.constant(share)))

    if spec.integrator in _STAGES:
        shares, weights = _STAGES[spec.integrator]
        slopes = [slope(y)]
        for share in shares:
            slopes.append(slope(moved(y, slopes[-1], share)))
        after = y
        for weight, each in zip(weights, slopes, strict=True):
            after = moved(after, each, weight)
    else:
        after = o.op("Add", y, slope(y))
    return readout(o, active(after)), {"y": after}


def _indrnn(o: Operators, u: Any, states: States) -> tuple[Any, States]:
    after: States = {}
    x = u
    for layer in range(o.spec.layers):
        recalled = o.op("Mul", states[f"h.{layer}"], o.block(f"u.{layer}"))
        total = o.op("Add", _driven(o, x, f"W_in.{layer}", f"bias.{layer}"), recalled)
        h = after[f"h.{layer}"] = activated(o, o.spec.activation, total)
        x = o.op("Add", h, x) if o.spec.residual and layer > 0 else h
    return readout(o, x), after


def _elman(o: Operators, u: Any, states: States) -> tuple[Any, States]:
    after: States = {}
    for k, (name, h) in enumerate(states.items()):
        w_in, recurrent, bias = (stack.of_layer(o.spec, block, k) for block in ("W_in", "U", "bias"))
        total = o.op("Add", _driven(o, u, w_in, bias), o.times(recurrent, h))
        u = after[name] = activated(o, o.spec.activation, total)
    return readout(o, u), after


def _jordan(o: Operators, u: Any, states: States) -> tuple[Any, States]:
    context = states["context"]
    y = readout(o, activated(o, o.spec.activation, o.op("Add", _driven(o, u), o.times("U", context))))
    return y, {"context": o.op("Add", o.op("Mul", context, o.constant(o.spec.context_decay)), y)}


def _gru(o: Operators, u: Any, states: States) -> tuple[Any, States]:
    after: States = {}
    for k, (name, h) in enumerate(states.items()):
        u = after[name] = _gru_layer(o, u, h, k)
    return readout(o, u), after


def _gru_layer(o: Operators, u: Any, h: Any, layer: int) -> Any:
    names = ("W_in", "U", "bias", "recurrent_bias")
    (w_in, recurrent, bias, kept), thirds = (
        (stack.of_layer(o.spec, name, layer) for name in names),
        [o.spec.neurons] * 3,
    )
    inputs, recalled = o.split(_driven(o, u, w_in, bias), thirds), o.split(o.times(recurrent, h), thirds)
    r, z = (activated(o, "logistic", o.op("Add", inputs[k], recalled[k])) for k in (0, 1))
    reset = o.op("Mul", r, o.op("Add", recalled[2], o.block(kept)))
    candidate = activated(o, "tanh", o.op("Add", inputs[2], reset))
    return o.op("Add", candidate, o.op("Mul", z, o.op("Sub", h, candidate)))


def _cfc(o: Operators, u: Any, states: States) -> tuple[Any, States]:
    n, spec = o.spec.neurons, o.spec
    x = o.op("Add", _driven(o, u), o.times("U", states["h"]))
    if spec.backbone:
        x = activated(o, spec.activation, x)
        for k in range(1, len(spec.backbone)):
            x = activated(o, spec.activation, _driven(o, x, f"W_backbone.{k}", f"b_backbone.{k}"))
        ff, time = (_driven(o, x, f"W_{name}", f"b_{name}") for name in ("ff", "time"))
        f, g = o.split(ff, [n, n])
    else:
        f, g, time = o.split(x, [n] * 3)
    f, g, t = activated(o, "tanh", f), activated(o, "tanh", g), activated(o, "logistic", time)
    after = o.op("Add", f, o.op("Mul", t, g if spec.mode == "no_gate" else o.op("Sub", g, f)))
    return readout(o, after), {"h": after}


_STEPS: Final[Mapping[str, Callable[[Operators, Any, States], tuple[Any, States]]]] = {
    "ctrnn": _ctrnn, "indrnn": _indrnn, "elman": _elman, "jordan": _jordan, "gru": _gru,
    "cfc": _cfc,
}  # fmt: skip
