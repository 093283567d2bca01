"""Controllers as ONNX models: one step with the state as input and output, or a whole sequence."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import initial_blocks, stack
from neuroctl.controller import Controller
from neuroctl.errors import InteropError, require
from neuroctl.interop import steps
from neuroctl.interop.steps import ACTIVATIONS, check_float, states_of
from neuroctl.io import atomic_write, check_writable, notes_from
from neuroctl.manifests import manifest, onnx_facts
from neuroctl.spec import Spec

Array = NDArray[Any]

_OPSET, _IR_VERSION = 18, 9  # of 2022: what runtimes on robots read


def to_onnx(controller: Controller, path: str | os.PathLike[str], *, sequence: bool = False) -> None:
    """Write a controller as an ONNX model.

    Inputs are ``obs [batch, inputs]`` and ``state_in [batch, S]``, outputs ``actions [batch, outputs]`` and
    ``state_out [batch, S]``; a state of 0 is a reset. With ``sequence`` obs and actions have time as their first axis.
    Elman networks and GRUs are then ONNX's own RNN and GRU operators, one a layer (layout 0, for a GRU
    linear_before_reset 1), other cells a Scan. The model's metadata hold spec, parameters and notes, so that
    ``from_onnx`` gives the same controller; ``neuroctl.manifest``; where the initial state is learned
    ``neuroctl.initial_state``, which then is the reset, ``[S]``; and, as others write them, ``observation_names``,
    ``action_names``, ``control_hz`` and ``action_scale``.

    A model computes what the controller does with finite numbers. It does not hold the last output where an input is
    NaN or Inf.

    Args:
        controller: in float32; any cell but Hopfield.
        path: of the file, which ends with ``.onnx``.
        sequence: whether the model takes a whole sequence at once.

    Raises:
        BackendUnavailable: the package onnx is not installed.
        InteropError: the cell or dtype is not allowed, or the controller is one of integers.
        FileFormatError: the file cannot be written, or has another suffix, or notes are no plain JSON types.

    Example:
        >>> controller = nc.Controller(nc.Spec(cell="gru", inputs=2, neurons=4, outputs=1, dt_s=0.02))
        >>> nc.interop.to_onnx(controller, "gru.onnx")

    """
    check_float(controller)
    spec = controller.spec
    states_of(spec)  # or the cell is refused
    notes_from(controller.meta)
    if spec.dtype != "float32":
        raise InteropError(f"dtype: {spec.dtype}; allowed: float32")
    onnx = require("onnx", "interop")
    check_writable("path", path, ".onnx")
    graph = _Graph(onnx, spec, controller.params)
    names = _sequence(graph) if sequence else steps.step(graph, "obs", "state_in")
    model = graph.model(names, sequence, _facts(controller))
    onnx.checker.check_model(model, full_check=True)
    atomic_write(path, model.SerializeToString())


class _Graph:
    """Nodes and constants of a model: ``steps.Operators`` whose values are names."""

    def __init__(self, onnx: Any, spec: Spec, params: Mapping[str, Array]):
        self.onnx, self.spec, self.params = onnx, spec, params
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: Any, name: str = "constant", dtype: Any = np.float32) -> str:
        name = f"{name}.{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))
        return name

    def block(self, name: str) -> str:
        return self.constant(self.params[name], name)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"{kind}.{len(self.nodes)}.{k}" for k in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def times(self, name: str, x: str) -> Any:
        return self.op("MatMul", x, self.constant(self.params[name].T, name))

    def split(self, x: str, sizes: Sequence[int]) -> Any:
        return self.op("Split", x, self.constant(sizes, "sizes", np.int64), outputs=len(sizes), axis=1)

    def joined(self, parts: Sequence[str]) -> Any:
        return self.op("Concat", *parts, axis=1)

    def named(self, source: str, name: str) -> None:
        self.nodes.append(self.onnx.helper.make_node("Identity", [source], [name]))

    def model(self, names: tuple[str, str], sequence: bool, facts: dict[str, str]) -> Any:
        """Return the model whose actions and state_out these are, with its metadata."""
        helper, tensor, spec = self.onnx.helper, self.onnx.TensorProto.FLOAT, self.spec
        self.named(names[0], "actions")
        self.named(names[1], "state_out")
        time = ["time"] if sequence else []
        size = sum(states_of(spec).values())

        def value(name: str, *shape: Any) -> Any:
            return helper.make_tensor_value_info(name, tensor, list(shape))

        graph = helper.make_graph(
            self.nodes, "controller",
            [value("obs", *time, "batch", spec.inputs), value("state_in", "batch", size)],
            [value("actions", *time, "batch", spec.outputs), value("state_out", "batch", size)], self.constants,
        )  # fmt: skip
        opset = helper.make_operatorsetid("", _OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="neuroctl")
        helper.set_model_props(model, facts)
        return model


def _facts(controller: Controller) -> dict[str, str]:
    """Return a model's metadata: the manifest, what ``from_onnx`` makes the same controller of, and names."""
    spec, params = controller.spec, controller.params
    facts = {"neuroctl.spec": json.dumps(spec.to_dict()), "neuroctl.dt_s": repr(spec.dt_s)}
    facts |= {"neuroctl.manifest": json.dumps(manifest(controller)), **onnx_facts(controller)}
    theta = np.concatenate([np.ravel(values) for values in params.values()])
    facts["neuroctl.theta"] = base64.b64encode(theta.astype("<f4").tobytes()).decode()
    if learned := initial_blocks(spec).values():
        state = np.concatenate([params[name] for name in learned])
        facts["neuroctl.initial_state"] = json.dumps(state.astype(float).tolist())
    return facts


# --- A sequence -----------------------------------------------------------------------------------------------------


def _sequence(graph: _Graph) -> tuple[str, str]:
    """Return the names of actions and state_out after a sequence."""
    if graph.spec.cell in ("elman", "gru"):
        return _operator(graph)
    helper, tensor = graph.onnx.helper, graph.onnx.TensorProto.FLOAT
    body = _Graph(graph.onnx, graph.spec, graph.params)
    y, state = steps.step(body, "u", "before")
    body.named(state, "after")
    body.named(y, "y")
    size = sum(states_of(graph.spec).values())
    values = {name: helper.make_tensor_value_info(name, tensor, ["batch", width]) for name, width in
              {"before": size, "after": size, "u": graph.spec.inputs, "y": graph.spec.outputs}.items()}  # fmt: skip
    step = helper.make_graph(
        body.nodes, "step", [values["before"], values["u"]], [values["after"], values["y"]], body.constants
    )
    after, actions = graph.op("Scan", "state_in", "obs", outputs=2, body=step, num_scan_inputs=1)
    return actions, after


def _operator(graph: _Graph) -> tuple[str, str]:
    """Return what ONNX's own operators give, one a layer; their gates stand in the order z, r, candidate."""
    spec, n = graph.spec, graph.spec.neurons
    first, second = (graph.constant([axis], "axis", np.int64) for axis in (0, 1))
    if spec.cell == "gru":
        order = np.concatenate([np.arange(n, 2 * n), np.arange(n), np.arange(2 * n, 3 * n)])
        options: dict[str, Any] = {"activations": ["Sigmoid", "Tanh"], "linear_before_reset": 1}
    else:
        order, options = np.arange(n), {"activations": [ACTIVATIONS[str(spec.activation)]]}
    parts = ["state_in"] if spec.layers == 1 else graph.split("state_in", [n] * spec.layers)
    x, after = steps.encoded(graph, "obs"), []
    for k, part in enumerate(parts):
        initial = graph.op("Unsqueeze", part, first)
        states, last = graph.op(
            "GRU" if spec.cell == "gru" else "RNN", x, *_weights(graph, k, order), "", initial, outputs=2,
            hidden_size=n, layout=0, direction="forward", **options,
        )  # fmt: skip
        x = graph.op("Squeeze", states, second)
        after.append(graph.op("Squeeze", last, first))
    state = after[0] if spec.layers == 1 else graph.joined(after)
    return steps.left(graph, steps.readout(graph, x)), state


def _weights(graph: _Graph, layer: int, order: Array) -> list[str]:
    """Return names of a layer's W, R and B, with gates in an order."""
    spec = graph.spec
    w_in, u, bias = (graph.params[stack.of_layer(spec, name, layer)] for name in ("W_in", "U", "bias"))
    recurrent = np.zeros(len(order))
    if spec.cell == "gru":
        recurrent[-spec.neurons :] = graph.params[stack.of_layer(spec, "recurrent_bias", layer)]
    weights = {"W": w_in[order], "R": u[order], "B": np.concatenate([bias[order], recurrent])}
    return [graph.constant(values[None], name) for name, values in weights.items()]
