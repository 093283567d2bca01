"""Controllers as ONNX models: one step with the state as input and output, or a whole sequence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells.base import input_map
from neuroctl.controller import Controller
from neuroctl.errors import InteropError, require
from neuroctl.io import atomic_write, check_writable
from neuroctl.spec import Spec

Array = NDArray[Any]
States = dict[str, str]

_OPSET, _IR_VERSION = 18, 9  # of 2022: what runtimes on robots read
_ACTIVATIONS: Final = {"tanh": "Tanh", "logistic": "Sigmoid", "relu": "Relu"}
# Slopes lead to the next stage by these shares of a step, and are summed with these weights.
_STAGES: Final = {"heun": ((1.0,), (0.5, 0.5)), "rk4": ((0.5, 0.5, 1.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6))}


def to_onnx(controller: Controller, path: str | os.PathLike[str], *, sequence: bool = False) -> None:
    """Write a controller as an ONNX model.

    Inputs are ``obs [batch, inputs]`` and ``state_in [batch, S]``, outputs ``actions [batch, outputs]`` and
    ``state_out [batch, S]``; a state of 0 is a reset. With ``sequence`` obs and actions have time as their first axis.
    Elman networks and GRUs are then ONNX's own RNN and GRU operators (layout 0, for a GRU linear_before_reset 1), other
    cells a Scan. The model's metadata hold the spec.

    A model computes what the controller does with finite numbers. It does not hold the last output where an input is
    NaN or Inf.

    Args:
        controller: in float32; any cell but Hopfield.
        path: of the file, which ends with ``.onnx``.
        sequence: whether the model takes a whole sequence at once.

    Raises:
        BackendUnavailable: the package onnx is not installed.
        InteropError: the cell or dtype is not allowed.
        FileFormatError: the file cannot be written, or has another suffix.

    Example:
        >>> controller = nc.Controller(nc.Spec(cell="gru", inputs=2, neurons=4, outputs=1, dt_s=0.02))
        >>> nc.interop.to_onnx(controller, "gru.onnx")

    """
    spec = controller.spec
    if spec.cell not in _STEPS:
        raise InteropError(f"cell: {spec.cell}; allowed: {', '.join(_STEPS)}")
    if spec.dtype != "float32":
        raise InteropError(f"dtype: {spec.dtype}; allowed: float32")
    onnx = require("onnx", "interop")
    check_writable("path", path, ".onnx")
    graph = _Graph(onnx, spec, controller.params)
    model = graph.model(_sequence(graph) if sequence else _step(graph), sequence)
    onnx.checker.check_model(model, full_check=True)
    atomic_write(path, model.SerializeToString())


class _Graph:
    """Nodes and constants of a model; what a node gives is known by its name."""

    def __init__(self, onnx: Any, spec: Spec, params: Mapping[str, Array]):
        self.onnx, self.spec, self.params = onnx, spec, params
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: Any, name: str = "constant", dtype: Any = np.float32) -> str:
        name = f"{name}.{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"{kind}.{len(self.nodes)}.{k}" for k in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def named(self, source: str, name: str) -> None:
        self.nodes.append(self.onnx.helper.make_node("Identity", [source], [name]))

    def times(self, block: str, x: str) -> str:
        """Return the product of a matrix ``[to, from]`` with x ``[..., from]``."""
        product: str = self.op("MatMul", x, self.constant(self.params[block].T, block))
        return product

    def plus(self, x: str, block: str) -> str:
        total: str = self.op("Add", x, self.constant(self.params[block], block))
        return total

    def activated(self, name: str | None, x: str) -> str:
        if name in (None, "identity"):
            return x
        if name == "hard_tanh":
            clipped: str = self.op("Clip", x, self.constant(-1.0), self.constant(1.0))
            return clipped
        activated: str = self.op(_ACTIVATIONS[str(name)], x)
        return activated

    def seen(self, u: str) -> str:
        """Return inputs as the network sees them."""
        if not self.spec.scale_inputs:
            return u
        offset, gain = (self.constant(values, name) for values, name in zip(input_map(self.spec), ("offset", "gain"),
                                                                              strict=True))  # fmt: skip
        scaled: str = self.op("Mul", self.op("Sub", u, offset), gain)
        return scaled

    def readout(self, features: str) -> str:
        """Return outputs, within their limits."""
        y = features
        if self.spec.readout == "affine":
            y = self.activated(self.spec.output_activation, self.plus(self.times("W_out", features), "b_out"))
        if self.spec.output_limits is not None:
            lows, highs = np.array(self.spec.output_limits).T
            y = self.op("Max", self.op("Min", y, self.constant(highs, "high")), self.constant(lows, "low"))
        return y

    def model(self, names: tuple[str, str], sequence: bool) -> Any:
        """Return the model whose actions and state_out these are."""
        helper, tensor, spec = self.onnx.helper, self.onnx.TensorProto.FLOAT, self.spec
        self.named(names[0], "actions")
        self.named(names[1], "state_out")
        time = ["time"] if sequence else []
        size = sum(_states(spec).values())

        def value(name: str, *shape: Any) -> Any:
            return helper.make_tensor_value_info(name, tensor, list(shape))

        graph = helper.make_graph(
            self.nodes, "controller",
            [value("obs", *time, "batch", spec.inputs), value("state_in", "batch", size)],
            [value("actions", *time, "batch", spec.outputs), value("state_out", "batch", size)], self.constants,
        )  # fmt: skip
        opset = helper.make_operatorsetid("", _OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="neuroctl")
        facts = {"neuroctl.spec": json.dumps(spec.to_dict()), "neuroctl.dt_s": repr(spec.dt_s)}
        helper.set_model_props(model, facts)
        return model


def _states(spec: Spec) -> dict[str, int]:
    """Return the parts of a state and their sizes, in their order in ``state_in``."""
    if spec.cell == "indrnn":
        return {f"h.{layer}": spec.neurons for layer in range(spec.layers)}
    return {"ctrnn": {"y": spec.neurons}, "jordan": {"context": spec.outputs}}.get(spec.cell, {"h": spec.neurons})


# --- One step -------------------------------------------------------------------------------------------------------


def _step(graph: _Graph, obs: str = "obs", state_in: str = "state_in") -> tuple[str, str]:
    """Return the names of actions and state_out after one step."""
    sizes = _states(graph.spec)
    states = {name: state_in for name in sizes}
    if len(sizes) > 1:
        split = graph.constant(list(sizes.values()), "sizes", np.int64)
        states = dict(zip(sizes, graph.op("Split", state_in, split, outputs=len(sizes), axis=1), strict=True))
    y, after = _STEPS[graph.spec.cell](graph, graph.seen(obs), states)
    joined = after[next(iter(sizes))] if len(sizes) == 1 else graph.op("Concat", *(after[k] for k in sizes), axis=1)
    return y, joined


def _ctrnn(graph: _Graph, u: str, states: States) -> tuple[str, States]:
    spec, p, y = graph.spec, graph.params, states["y"]
    ratio = spec.dt_s / p["tau_s"].astype(np.float64)
    alpha = graph.constant(-np.expm1(-ratio) if spec.integrator == "etd1" else ratio, "alpha")
    drive = graph.times("W_in", u)

    def active(y: str) -> str:
        scaled = graph.op("Mul", graph.plus(y, "bias"), graph.constant(p["gain"], "gain"))
        return graph.activated("logistic", scaled)

    def slope(y: str) -> str:
        change = graph.op("Sub", graph.op("Add", graph.times("W", active(y)), drive), y)
        times: str = graph.op("Mul", alpha, change)
        return times

    def moved(share: float, by: str) -> str:
        there: str = graph.op("Add", y, graph.op("Mul", by, graph.constant(share)))
        return there

    if spec.integrator in _STAGES:
        shares, weights = _STAGES[spec.integrator]
        slopes = [slope(y)]
        for share in shares:
            slopes.append(slope(moved(share, slopes[-1])))
        after = y
        for weight, each in zip(weights, slopes, strict=True):
            after = graph.op("Add", after, graph.op("Mul", each, graph.constant(weight)))
    else:
        after = graph.op("Add", y, slope(y))
    return graph.readout(active(after)), {"y": after}


def _indrnn(graph: _Graph, u: str, states: States) -> tuple[str, States]:
    spec, after, x = graph.spec, {}, u
    for layer in range(spec.layers):
        recalled = graph.op("Mul", states[f"h.{layer}"], graph.constant(graph.params[f"u.{layer}"], "u"))
        total = graph.op("Add", graph.plus(graph.times(f"W_in.{layer}", x), f"bias.{layer}"), recalled)
        h = after[f"h.{layer}"] = graph.activated(spec.activation, total)
        x = graph.op("Add", h, x) if spec.residual and layer > 0 else h
    return graph.readout(x), after


def _elman(graph: _Graph, u: str, states: States) -> tuple[str, States]:
    total = graph.op("Add", graph.plus(graph.times("W_in", u), "bias"), graph.times("U", states["h"]))
    h = graph.activated(graph.spec.activation, total)
    return graph.readout(h), {"h": h}


def _jordan(graph: _Graph, u: str, states: States) -> tuple[str, States]:
    context = states["context"]
    total = graph.op("Add", graph.plus(graph.times("W_in", u), "bias"), graph.times("U", context))
    y = graph.readout(graph.activated(graph.spec.activation, total))
    faded = graph.op("Mul", context, graph.constant(graph.spec.context_decay))
    return y, {"context": graph.op("Add", faded, y)}


def _gru(graph: _Graph, u: str, states: States) -> tuple[str, States]:
    h, thirds = states["h"], graph.constant([graph.spec.neurons] * 3, "sizes", np.int64)
    inputs = graph.op("Split", graph.plus(graph.times("W_in", u), "bias"), thirds, outputs=3, axis=1)
    recalled = graph.op("Split", graph.times("U", h), thirds, outputs=3, axis=1)
    r, z = (graph.activated("logistic", graph.op("Add", inputs[k], recalled[k])) for k in (0, 1))
    reset = graph.op("Mul", r, graph.plus(recalled[2], "recurrent_bias"))
    candidate = graph.activated("tanh", graph.op("Add", inputs[2], reset))
    after = graph.op("Add", candidate, graph.op("Mul", z, graph.op("Sub", h, candidate)))
    return graph.readout(after), {"h": after}


_STEPS: Final[dict[str, Callable[[_Graph, str, States], tuple[str, States]]]] = {
    "ctrnn": _ctrnn, "indrnn": _indrnn, "elman": _elman, "jordan": _jordan, "gru": _gru,
}  # fmt: skip


# --- A sequence -----------------------------------------------------------------------------------------------------


def _sequence(graph: _Graph) -> tuple[str, str]:
    """Return the names of actions and state_out after a sequence."""
    if graph.spec.cell in ("elman", "gru"):
        return _operator(graph)
    helper, tensor = graph.onnx.helper, graph.onnx.TensorProto.FLOAT
    body = _Graph(graph.onnx, graph.spec, graph.params)
    y, state = _step(body, "u", "before")
    body.named(state, "after")
    body.named(y, "y")
    size = sum(_states(graph.spec).values())
    values = {name: helper.make_tensor_value_info(name, tensor, ["batch", width]) for name, width in
              {"before": size, "after": size, "u": graph.spec.inputs, "y": graph.spec.outputs}.items()}  # fmt: skip
    step = helper.make_graph(
        body.nodes, "step", [values["before"], values["u"]], [values["after"], values["y"]], body.constants
    )
    after, actions = graph.op("Scan", "state_in", "obs", outputs=2, body=step, num_scan_inputs=1)
    return actions, after


def _operator(graph: _Graph) -> tuple[str, str]:
    """Return what ONNX's own operator gives; its gates stand in the order z, r, candidate."""
    spec, p, n = graph.spec, graph.params, graph.spec.neurons
    first = graph.constant([0], "axis", np.int64)
    if spec.cell == "gru":
        order = np.concatenate([np.arange(n, 2 * n), np.arange(n), np.arange(2 * n, 3 * n)])
        recurrent = np.concatenate([np.zeros(2 * n), p["recurrent_bias"]])
        options: dict[str, Any] = {"activations": ["Sigmoid", "Tanh"], "linear_before_reset": 1}
    else:
        order, recurrent = np.arange(n), np.zeros(n)
        options = {"activations": [_ACTIVATIONS[str(spec.activation)]]}
    weights = {"W": p["W_in"][order], "R": p["U"][order], "B": np.concatenate([p["bias"][order], recurrent])}
    names = [graph.constant(values[None], name) for name, values in weights.items()]
    initial = graph.op("Unsqueeze", "state_in", first)
    states, last = graph.op(
        "GRU" if spec.cell == "gru" else "RNN", graph.seen("obs"), *names, "", initial, outputs=2, hidden_size=n,
        layout=0, direction="forward", **options,
    )  # fmt: skip
    features = graph.op("Squeeze", states, graph.constant([1], "axis", np.int64))
    return graph.readout(features), graph.op("Squeeze", last, first)
