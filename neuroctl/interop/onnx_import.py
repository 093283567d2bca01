"""Recurrent networks in ONNX files, as controllers: GRU or RNN operators, one a layer, between dense layers.

The graph is followed from its observation to its first output. Operators that only move axes are passed over: the
proof, which runs the file in ONNX Runtime, would notice one that does more.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import shown
from neuroctl.controller import Controller
from neuroctl.errors import InteropError, NeuroctlError, require
from neuroctl.interop.onnx_files import MAX_BYTES, read_model
from neuroctl.interop.onnx_run import Session
from neuroctl.interop.proof import check_equal, prove
from neuroctl.interop.weights import GATES, Dense, Network, Recurrent, between
from neuroctl.io import file_name
from neuroctl.spec import Limits, Spec

Array = NDArray[Any]

_ALLOWED: Final = (
    "GRUs or RNNs, one behind the other, with MatMul, Gemm, Add, Sub, Mul, Div, Relu, Tanh and Sigmoid before and after"
)
_MOVES: Final = ("Identity", "Transpose", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Dropout", "Cast")
_SPREADS: Final = (*_MOVES, "Expand", "Tile", "Slice", "Split", "Gather", "Concat")
_JOINS: Final = (*_MOVES, "Concat")
_SQUASHES: Final = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "logistic"}
_FACTORS: Final = ("Add", "Sub", "Mul", "Div")
"""Operators of a value and a constant: a bias, or what a normalizer subtracts and divides by."""
_CELLS: Final = {"GRU": "gru", "RNN": "elman"}
_ACTIVATIONS: Final = {("Tanh",): "tanh", ("Relu",): "relu", ("Sigmoid",): "logistic"}
_GROWING: Final = ("ConstantOfShape", "Expand", "Tile")
"""Operators that make many numbers of few, by the lengths or repeats that are their last input."""
_FOLDED: Final = (
    *_SPREADS, *_FACTORS, "ConstantOfShape", "Constant", "Shape", "Size", "Gather", "Split", "Neg", "Sqrt",
    "Reciprocal", "Pow", "MatMul", "Gemm", "Max", "Min", "Equal", "Where",
)  # fmt: skip
"""Operators that are worked out where they depend on no input; no loops, and nothing whose size one cannot tell."""


def from_onnx(
    source: str | os.PathLike[str],
    *,
    dt_s: float | None = None,
    input_limits: Limits | None = None,
    output_limits: Limits | None = None,
    dtype: str = "float32",
) -> Controller:
    """Return the controller that an ONNX file is, after a proof that both give the same outputs.

    Allowed are GRU (with ``linear_before_reset = 1``) or RNN operators in one direction, one a layer, and dense layers
    before and after them, as torch's exporters and rsl_rl write them: a step with its state as input and output, or a
    sequence. An initial state in the file becomes the controller's; one that is an input starts as zeros. The proof
    runs file (in ONNX Runtime) and controller on three random sequences of 1,000 steps, or as many as the file's axes
    allow; outputs may differ by 1e-5. A file that ``to_onnx`` wrote is taken as the controller that it was, limits
    included; what is given besides has to agree.

    Args:
        source: the file; its weights, of float32, are in it or in a file beside it, as torch's exporter writes them.
        dt_s: time between two steps, in seconds; None: what ``to_onnx`` noted.
        input_limits: see ``Spec``.
        output_limits: see ``Spec``; the proof runs without them.
        dtype: of the controller.

    Raises:
        BackendUnavailable: onnx or onnxruntime is not installed.
        InteropError: the file is none, has other operators, attributes or sizes, or the proof failed.
        SpecError: dt_s, limits or dtype are not allowed.
        LayoutError: a weight is NaN or infinite.

    Example:
        >>> from_onnx("policy.onnx", dt_s=0.02)  # doctest: +SKIP
        <Controller gru: 9 inputs, 16 neurons, 2 outputs, encoder 32, dt_s 0.02, 2002 parameters, float32>

    """
    return import_onnx(source, dt_s=dt_s, input_limits=input_limits, output_limits=output_limits, dtype=dtype)[0]


def import_onnx(
    source: str | os.PathLike[str], *, dt_s: float | None, input_limits: Limits | None = None,
    output_limits: Limits | None = None, dtype: str = "float32",
) -> tuple[Controller, int]:  # fmt: skip
    """Return the controller that ``from_onnx`` returns, and the number of steps of each sequence of its proof.

    Raises:
        BackendUnavailable: see ``from_onnx``, as all others.
        InteropError: the file is none, has other operators, attributes or sizes, or the proof failed.

    """
    onnx, runtime = require("onnx", "interop"), require("onnxruntime", "interop")
    path = Path(file_name(source))
    model = read_model(onnx, path)
    facts = {fact.key: fact.value for fact in model.metadata_props}
    if "neuroctl.spec" in facts:
        given = {"dt_s": dt_s, "input_limits": input_limits, "output_limits": output_limits, "dtype": dtype}
        return _own(runtime, model, facts, path, given)
    if dt_s is None:
        raise InteropError("dt_s: None; allowed: seconds between two steps, which the file does not name")
    graph = _Graph(onnx, model)
    network = graph.network()
    controller = network.controller(network.spec(dt_s, dtype, input_limits=input_limits, output_limits=output_limits))
    session = Session(runtime, model, graph.observation, graph.output, graph.state, graph.time_axis)
    prove(network, session.run, dt_s, session.steps)
    return controller, session.steps


def _own(
    runtime: Any, model: Any, facts: Mapping[str, str], path: Path, given: Mapping[str, Any]
) -> tuple[Controller, int]:  # fmt: skip
    """Return the controller that ``to_onnx`` wrote, whose parameters are in the metadata too, and the proof's steps.

    What is ``given`` besides may not contradict them.
    """
    try:
        spec = Spec.from_dict(json.loads(facts["neuroctl.spec"]))
        theta = np.frombuffer(base64.b64decode(facts["neuroctl.theta"], validate=True), "<f4")
        controller = Controller(spec, theta, meta=_notes(facts))
        start = np.array(json.loads(facts.get("neuroctl.initial_state", "[]")), np.float32)
    except (NeuroctlError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InteropError(f"source: {path.name}: {error}; allowed: a file as to_onnx wrote it") from error
    named = spec.to_dict() | {field: value for field, value in given.items() if value is not None}
    for field, value in Spec.from_dict(named).to_dict().items():
        if value != (own := spec.to_dict()[field]):
            raise InteropError(f"{field}: {shown(value)}; allowed: {shown(own)}, as to_onnx wrote it")
    sequence = len(model.graph.input[0].type.tensor_type.shape.dim) == 3
    names = ("obs", "actions", ("state_in", "state_out"))
    session = Session(runtime, model, *names, 0 if sequence else None, start if start.size else None)
    check_equal(controller, session.run, session.steps)
    return controller, session.steps


def _notes(facts: Mapping[str, str]) -> dict[str, Any]:
    """Return the notes in a manifest; none where a file of an earlier version has no manifest."""
    stored = json.loads(facts.get("neuroctl.manifest", "{}"))
    return dict(stored.get("training", {})) | dict(stored.get("eval", {}))


class _Graph:
    """A graph as a chain from the observation to the first output; reading it fills the fields."""

    def __init__(self, onnx: Any, model: Any):
        self._onnx, self._nodes = onnx, list(model.graph.node)
        self._producer = str(model.producer_name)
        self._makers = {name: node for node in self._nodes for name in node.output}
        self._constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in self._constants]
        self._inputs = [value.name for value in inputs]
        self._shapes = {value.name: _shape(value) for value in inputs}
        self._outputs = [value.name for value in model.graph.output]
        self._before, self._after = Dense(), Dense()
        self._recurrent: list[dict[str, Any]] = []
        self._moves: list[Any] = []
        self.output = self._outputs[0]
        self.state: tuple[str, str] | None
        """Names of the state's input and output; None where the file has none."""
        self.time_axis: int | None = 0
        """Of the observation; None where it is of one step."""
        self._fold()
        kinds = [node.op_type for node in self._nodes]
        operators = [node for node in self._nodes if node.op_type in ("GRU", "RNN", "LSTM")]
        if len({node.op_type for node in operators}) != 1 or operators[0].op_type == "LSTM":
            got = ", ".join(node.op_type for node in operators) or f"none among {', '.join(dict.fromkeys(kinds))}"
            raise InteropError(f"recurrent operators: {got}; allowed: {_ALLOWED}")
        count = len(operators)
        starts, states = zip(*(self._initial_of(node, k, count) for k, node in enumerate(operators)), strict=True)
        if len(set(states)) != 1:
            raise InteropError("initial_h: of some layers an input of its own; allowed: one state, of all layers")
        self._starts = {node.output[0]: start for node, start in zip(operators, starts, strict=True)}
        self.state = states[0]
        seen = [name for name in self._inputs if name not in (self.state or ())]
        if len(seen) != 1:
            raise InteropError(f"inputs: {', '.join(self._inputs)}; allowed: an observation, and at most a state")
        self.observation = seen[0]

    def network(self) -> Network:
        """Follow the chain, and return what it is.

        Raises:
            InteropError: an operator or attribute is not allowed, or sizes do not fit each other.

        """
        names = [self.observation]
        while self.output not in names:
            node = self._next(names)
            names = list(node.output[:1]) if node.op_type not in _CELLS else [name for name in node.output if name]
            self._take(node)
        if not self._recurrent:
            raise InteropError(f"{self.output}: no recurrent operator leads to it; allowed: {_ALLOWED}")
        first, *others = self._recurrent
        starts = [layer.pop("initial") for layer in self._recurrent]
        if any(start is not None for start in starts):
            n = first["weight_hh"].shape[1]
            first["initial"] = np.concatenate([np.zeros(n) if start is None else start for start in starts])
        kinds = [{key: layer.pop(key) for key in ("cell", "activation")} for layer in others]
        if any(first[key] != value for kind in kinds for key, value in kind.items()):
            raise InteropError("recurrent operators: their activations differ; allowed: the same for all")
        return between(self._before, self._after, later=tuple(Recurrent(**layer) for layer in others), **first)

    def _next(self, names: list[str]) -> Any:
        """Return the one operator that takes a value, other than for its shape or as the next state."""
        users = [node for node in self._nodes if set(names) & set(node.input) and node.op_type != "Shape"]
        others = [name for name in self._outputs if name != self.output]  # last states
        users = [node for node in users if not any(self._leads(node, name) for name in others)]
        if len(users) != 1:
            kinds = ", ".join(node.op_type for node in users) or "nothing"
            raise InteropError(f"{names[0]}: goes into {kinds}; allowed: one operator, and no branches")
        return users[0]

    def _leads(self, node: Any, name: str) -> bool:
        """Return whether a node only moves its input to an output of the graph."""
        while node.op_type in _JOINS:
            if name in node.output:
                return True
            following = [user for user in self._nodes if set(node.output) & set(user.input)]
            if len(following) != 1:
                return False
            node = following[0]
        return False

    def _take(self, node: Any) -> None:
        kind, side = node.op_type, self._after if self._recurrent else self._before
        if kind in _CELLS:
            if self._after.layers:
                raise InteropError(f"{_title(node)}: behind dense layers that are behind another; allowed: {_ALLOWED}")
            self._recurrent.append(self._operator(node))
        elif kind in ("MatMul", "Gemm"):
            side.add(self._product(node))
        elif kind in _FACTORS:
            self._scale(node, side)
        elif kind in _SQUASHES:
            if not side.squashed(_SQUASHES[kind]):
                raise InteropError(f"{_title(node)}: follows no MatMul or Gemm; allowed: {_ALLOWED}")
        elif kind in _MOVES:
            self._moves += [] if self._recurrent else [node]
        else:
            raise InteropError(f"{_title(node)}; allowed: {_ALLOWED}")

    # --- Numbers ----------------------------------------------------------------------------------------------------

    def _fold(self) -> None:
        """Work out what depends on no input: weights are transposed, sliced and put together in many ways."""
        evaluator = require("onnx.reference", "interop").ReferenceEvaluator
        for node in list(self._nodes):
            inputs = [name for name in node.input if name]
            if node.op_type in (*_CELLS, "LSTM") or not all(name in self._constants for name in inputs):
                continue
            if node.op_type not in _FOLDED:
                raise InteropError(f"{_title(node)}: of constants alone; allowed: {', '.join(_FOLDED)}")
            self._check_size(node, inputs)
            try:
                values = evaluator(node).run(None, {name: self._constants[name] for name in inputs})
            except Exception as error:
                reason = " ".join(str(error).split())[:120]
                raise InteropError(f"{_title(node)}: {reason}; allowed: {_ALLOWED}") from error
            self._constants |= dict(zip(node.output, values, strict=True))
            self._nodes.remove(node)

    def _check_size(self, node: Any, inputs: list[str]) -> None:
        """Refuse to make more numbers of a few than a file may hold.

        Raises:
            InteropError: there would be more.

        """
        if node.op_type in _GROWING:
            lengths = [max(1, int(length)) for length in self._constants[inputs[-1]].ravel()]
            size = math.prod(lengths) * (self._constants[inputs[0]].size if len(inputs) > 1 else 1)
            if 4 * size > MAX_BYTES:
                raise InteropError(f"{_title(node)}: {size} numbers; allowed: up to {MAX_BYTES // 4}")

    def _number(self, name: str, title: str) -> Array:
        """Return a constant of float32 in float64."""
        if name not in self._constants:
            raise InteropError(f"{title}: {name} is computed; allowed: a constant")
        values = self._constants[name]
        if values.dtype != np.float32:
            raise InteropError(f"{title}: {values.dtype}; allowed: float32")
        array: Array = values.astype(np.float64)
        return array

    def _directed(self, name: str, title: str, axes: int) -> Array:
        """Return an operator's weights, whose first axis is the one direction."""
        values = self._number(name, title)
        if values.ndim != axes or len(values) != 1 or not values.size:
            raise InteropError(f"{title}: {name} of shape {values.shape}; allowed: {axes} axes, the first of 1")
        first: Array = values[0]
        return first

    def _product(self, node: Any) -> tuple[Array, Array]:
        attributes, title = _attributes(self._onnx, node), _title(node)
        weight = self._number(node.input[1], title)
        if weight.ndim != 2:
            raise InteropError(f"{title}: weights of shape {weight.shape}; allowed: a matrix")
        if node.op_type == "MatMul":
            return weight.T, np.zeros(weight.shape[1])
        plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
        factors = {name: attributes.get(name, default) for name, default in plain.items()}
        if factors != plain:
            raise InteropError(f"{title}: {factors}; allowed: alpha and beta 1, transA 0")
        weight = weight if attributes.get("transB") else weight.T
        bias = self._number(node.input[2], title) if len(node.input) > 2 else np.zeros(len(weight))
        return weight, np.broadcast_to(bias.ravel(), len(weight)).copy()

    def _scale(self, node: Any, side: Dense) -> None:
        """Take a bias, or a normalizer's offset or factor, as a layer whose weights are diagonal."""
        kind, title = node.op_type, _title(node)
        name = next((name for name in node.input if name in self._constants), "")
        if not name or (kind in ("Sub", "Div") and name != node.input[1]):
            raise InteropError(f"{title}: of two computed values; allowed: {_ALLOWED}")
        if not side.linear and (side.layers or side is self._after):
            raise InteropError(f"{title}: follows no MatMul or Gemm; allowed: {_ALLOWED}")
        size = len(side.layers[-1][1]) if side.linear else self._width()
        values = self._number(name, title).ravel()
        if values.size not in (1, size):
            raise InteropError(f"{title}: {values.size} numbers; allowed: {size}")
        values, ones = np.broadcast_to(values, size), np.ones(size)
        shift = {"Add": values, "Sub": -values}.get(kind, 0 * ones)
        if kind == "Div" and not values.all():
            raise InteropError(f"{title}: divides by 0; allowed: other numbers")
        factor = values if kind == "Mul" else 1 / values if kind == "Div" else ones
        side.add((np.diag(factor), shift))

    def _width(self) -> int:
        """Return the number of entries of an observation."""
        shape = self._shapes[self.observation]
        if not shape or shape[-1] is None:
            raise InteropError(f"{self.observation}: shape {shape}; allowed: a known last axis")
        return int(shape[-1])

    # --- The operator -----------------------------------------------------------------------------------------------

    def _initial_of(self, node: Any, layer: int, count: int) -> tuple[Array | None, tuple[str, str] | None]:
        """Return the initial state ``[n]``, None for zeros; and the names of the state as input and output, if any.

        A state of all ``count`` layers is told apart by its first axis; the proof would notice another order.
        """
        name = node.input[5] if len(node.input) > 5 else ""
        while name and name not in self._constants:
            if name in self._inputs:
                return None, (name, self._state_output(node))
            maker = self._makers[name]
            if maker.op_type == "ConstantOfShape":
                value = _attributes(self._onnx, maker).get("value")
                if value is not None and self._onnx.numpy_helper.to_array(value).any():
                    raise InteropError(f"{_title(maker)}: an initial state of one number; allowed: 0")
                return None, None
            if maker.op_type not in _SPREADS:
                raise InteropError(f"{_title(maker)}: makes the initial state; allowed: a constant or an input")
            name = maker.input[0]
        if not name:
            return None, None
        values = self._number(name, "initial_h")
        values = values[layer] if count > 1 and values.ndim == 3 and len(values) == count else values
        rows = values.reshape(-1, int(_attributes(self._onnx, node)["hidden_size"]))
        if (rows != rows[0]).any():
            raise InteropError("initial_h: rows that differ; allowed: one state for all sequences")
        return (rows[0].copy() if rows[0].any() else None), None

    def _state_output(self, node: Any) -> str:
        """Return the output that the operator's last state goes to."""
        for output in self._outputs[::-1]:
            sources = self._sources(str(output), node)
            if sources and (list(node.output)[-1] in sources or output != self._outputs[0]):
                return str(output)
        raise InteropError(f"{_title(node)}: its state is an input, but no output; allowed: both")

    def _sources(self, name: str, node: Any) -> set[str]:
        """Return those outputs of a node that a value is moved from, or joined of."""
        maker: Any = self._makers.get(name)
        if maker is None or maker is node:
            return {name} if maker is node else set()
        names = maker.input if maker.op_type in _JOINS else ()
        return {source for each in names for source in self._sources(str(each), node)}

    def _operator(self, node: Any) -> dict[str, Any]:
        """Return the fields of a ``Network`` of the operator, whose gates stand in the order z, r, candidate."""
        attributes, title, cell = _attributes(self._onnx, node), _title(node), _CELLS[node.op_type]
        self._check(node, attributes)
        w, r = (self._directed(name, title, 3) for name in node.input[1:3])
        n = r.shape[-1]
        biases = np.zeros(2 * len(r))
        if len(node.input) > 3 and node.input[3]:
            biases = self._directed(node.input[3], title, 2)
        if r.shape != (GATES[cell] * n, n) or w.shape[:1] != r.shape[:1] or biases.shape != (2 * len(r),):
            got = f"weights of {w.shape} and {r.shape}, biases of {biases.shape}"
            raise InteropError(f"{title}: {got}; allowed: those of {n} neurons")
        order = np.arange(len(r)).reshape(GATES[cell], n)[[1, 0, 2] if cell == "gru" else [0]].ravel()
        activation = None
        if cell == "elman":
            functions = tuple(name.decode() for name in attributes.get("activations", [b"Tanh"]))
            if functions not in _ACTIVATIONS:
                raise InteropError(f"{title}: activations {', '.join(functions)}; allowed: Tanh, Relu or Sigmoid")
            activation = _ACTIVATIONS[functions]
        if not self._recurrent:
            self.time_axis = self._time(attributes)
        return {
            "cell": cell, "activation": activation, "weight_ih": w[order], "weight_hh": r[order],
            "bias_ih": biases[: len(r)][order], "bias_hh": biases[len(r) :][order],
            "initial": self._starts[node.output[0]],
        }  # fmt: skip

    def _check(self, node: Any, attributes: Mapping[str, Any]) -> None:
        title = _title(node)
        direction = attributes.get("direction", b"forward").decode()
        if direction != "forward":
            raise InteropError(f"{title}: direction {direction}; allowed: forward")
        if "clip" in attributes:
            raise InteropError(f"{title}: clip {attributes['clip']:g}; allowed: none")
        if len(node.input) > 4 and node.input[4]:
            raise InteropError(f"{title}: sequence_lens; allowed: none")
        if node.op_type == "GRU":
            functions = [name.decode() for name in attributes.get("activations", [b"Sigmoid", b"Tanh"])]
            if functions != ["Sigmoid", "Tanh"]:
                raise InteropError(f"{title}: activations {', '.join(functions)}; allowed: Sigmoid, Tanh")
            if not attributes.get("linear_before_reset", 0):
                said = ""
                if "torch" in self._producer:
                    said = (
                        ", which torch's GRU is not: some versions of its exporter (onnxscript) left the attribute "
                        "out; export it with another"
                    )
                raise InteropError(f"{title}: linear_before_reset 0{said}; allowed: 1, the reset after the product")

    def _time(self, attributes: Mapping[str, Any]) -> int | None:
        """Return the observation's time axis, which moves before the operator tell; None for a single step."""
        axis: int | None = 1 if attributes.get("layout", 0) else 0
        for node in self._moves[::-1]:
            own = _attributes(self._onnx, node)
            if node.op_type == "Transpose" and list(own.get("perm", ())) == [1, 0, 2] and axis is not None:
                axis = 1 - axis
            if node.op_type == "Unsqueeze":
                axes = np.ravel(self._constants[node.input[1]] if len(node.input) > 1 else own["axes"])
                axis = None if axes.tolist() == [axis] else 0
        return axis


def _shape(value: Any) -> list[int | None]:
    """Return the lengths of a graph input's axes; None where one is not fixed."""
    axes = value.type.tensor_type.shape.dim
    return [axis.dim_value if axis.HasField("dim_value") else None for axis in axes]


def _title(node: Any) -> str:
    return f"{node.name} ({node.op_type})" if node.name else str(node.op_type)


def _attributes(onnx: Any, node: Any) -> dict[str, Any]:
    value: Callable[[Any], Any] = onnx.helper.get_attribute_value
    return {each.name: value(each) for each in node.attribute}
