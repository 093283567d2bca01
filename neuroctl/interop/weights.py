"""Recurrent layers between dense ones, with weights named and ordered as torch does, as a controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import layout, stack
from neuroctl.controller import Controller
from neuroctl.errors import InteropError
from neuroctl.spec import DENSE_ACTIVATIONS, OUTPUT_ACTIVATIONS, Spec

Array = NDArray[Any]
Layer = tuple[Array, Array]
"""Weight ``[to, from]`` and bias ``[to]`` of a dense layer."""

GATES: Final = {"elman": 1, "gru": 3}
"""Rows of the weights, in multiples of the neurons; the GRU's gates are r, z and the candidate, as in torch."""

FUNCTIONS: Final = ", ".join(DENSE_ACTIVATIONS)
"""What may follow a dense layer, for messages."""
_OURS: Final = {"sigmoid": "logistic", "lecun": "lecun_tanh"}
"""Names that torch and ncps have for functions of ours, in small letters."""
_KNOWN: Final = (*OUTPUT_ACTIVATIONS, "lecun_tanh")


def function_name(value: Any) -> Any:
    """Return our name of a function that is named as torch does, such as ``"ReLU"`` or ``"nn.Sigmoid"``.

    What is no such name stays as it is, for the message that refuses it.
    """
    if not isinstance(value, str):
        return value
    small = value.removeprefix("torch.").removeprefix("nn.").lower()
    name = _OURS.get(small, small)
    return name if name in _KNOWN else value


class Dense:
    """Dense layers on one side of the recurrent part, and the functions behind them; None for none."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.functions: list[str | None] = []

    def add(self, layer: Layer) -> None:
        """Take the next layer; behind one without a function, both become their product.

        Raises:
            InteropError: sizes do not fit each other.

        """
        if self.linear:
            (first, shift), (weight, bias) = self.layers[-1], layer
            if weight.shape[-1] != len(first):
                raise InteropError(f"dense layer: shape {weight.shape}; allowed: {(len(weight), len(first))}")
            self.layers[-1] = weight @ first, weight @ shift + bias
        else:
            self.put(layer)

    def put(self, layer: Layer) -> None:
        """Take the next layer as it is: the functions that stand behind layers are told later."""
        self.layers.append(layer)
        self.functions.append(None)

    @property
    def linear(self) -> bool:
        """Whether the last part is a layer without a function."""
        return bool(self.layers) and self.functions[-1] is None

    def squashed(self, function: str) -> bool:
        """Take the function behind the last layer; return whether there is a layer without one."""
        if not self.linear:
            return False
        self.functions[-1] = function
        return True


def between(before: Dense, after: Dense, **recurrent: Any) -> Network:
    """Return the network of a recurrent part, fields of ``Network``, between dense layers.

    A last layer without a function before the recurrent part is multiplied into that: W (V u + c) + b.

    Raises:
        InteropError: functions of layers differ, or sizes do not fit each other.

    """
    if before.layers and before.functions[-1] is None:
        (weight, bias), own = before.layers.pop(), recurrent["weight_ih"]
        before.functions.pop()
        if own.shape[-1] != len(weight):
            raise InteropError(f"weight_ih: shape {own.shape}; allowed: {(len(own), len(weight))}")
        recurrent |= {"weight_ih": own @ weight, "bias_ih": recurrent["bias_ih"] + own @ bias}
    hidden = [*before.functions, *after.functions[:-1]]
    if len(set(hidden)) > 1 or None in hidden:
        names = ", ".join(str(name) for name in hidden)
        raise InteropError(f"functions of dense layers: {names}; allowed: one for all but the last, of {FUNCTIONS}")
    return Network(
        **recurrent, readout=after.layers[-1] if after.layers else None,
        output_activation=(after.functions or [None])[-1] or "identity", encoder=tuple(before.layers),
        head=tuple(after.layers[:-1]), dense_activation=str((hidden or ["relu"])[0]),
    )  # fmt: skip


@dataclass(frozen=True)
class Recurrent:
    """The weights of one recurrent layer, float64 and named as in torch; see ``Network``."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array


@dataclass(frozen=True)
class Network:
    """Recurrent layers between dense ones; matrices are ``[to, from]``; the first one's weights have fields.

    Args:
        cell: ``"elman"``, ``"gru"`` or ``"cfc"``.
        activation: of an Elman network or a CfC: ``"tanh"`` or ``"relu"``; None for a GRU.
        weight_ih: float64 ``[gates n, m]``, of a CfC its W_in; as are the next ones, whose biases are summed.
        weight_hh: float64 ``[gates n, n]``.
        bias_ih: float64 ``[gates n]``.
        bias_hh: float64 ``[gates n]``.
        readout: the last dense layer; None where the state itself is the output.
        output_activation: what is applied to the readout.
        encoder: the layers before the recurrent one.
        head: the layers between that and the readout.
        dense_activation: of encoder and head.
        initial: the state after a reset, float64 ``[layers n]``, one layer behind the other; None for zeros.
        later: the second recurrent layer and those that follow, of Elman networks and GRUs.
        blocks: other blocks of the controller's parameters, by name.
        fields: other fields of its spec.

    """

    cell: str
    activation: str | None
    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array
    readout: Layer | None = None
    output_activation: str = "identity"
    encoder: tuple[Layer, ...] = ()
    head: tuple[Layer, ...] = ()
    dense_activation: str = "relu"
    initial: Array | None = None
    later: tuple[Recurrent, ...] = ()
    blocks: Mapping[str, Array] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the sizes fit each other."""
        self._check_matrices()
        rows, n = self.weight_hh.shape
        sizes = {
            "weight_hh": ((rows, n), (rows if self.fields else GATES[self.cell] * n, n)),
            "weight_ih": (self.weight_ih.shape, (rows, self.weight_ih.shape[-1])),
            "bias_ih": (self.bias_ih.shape, (rows,)),
            "bias_hh": (self.bias_hh.shape, (rows,)),
        }
        for k, layer in enumerate(self.later, start=1):
            same = {"weight_ih": (rows, n), "weight_hh": (rows, n), "bias_ih": (rows,), "bias_hh": (rows,)}
            sizes |= {f"{name}_l{k}": (getattr(layer, name).shape, shape) for name, shape in same.items()}
        width = n
        for name, (weight, bias) in self._after():
            sizes[name], sizes[f"{name}'s bias"] = (weight.shape, (len(weight), width)), (bias.shape, (len(weight),))
            width = len(weight)
        width = self.inputs
        for k, (weight, bias) in enumerate(self.encoder):
            name = f"encoder[{k}]"
            sizes[name], sizes[f"{name}'s bias"] = (weight.shape, (len(weight), width)), (bias.shape, (len(weight),))
            width = len(weight)
        if self.encoder:
            sizes["weight_ih"] = (self.weight_ih.shape, (rows, width))
        if self.initial is not None:
            sizes["initial state"] = (self.initial.shape, (len(self.layers) * n,))
        for name, (got, allowed) in sizes.items():
            if got != allowed:
                raise InteropError(f"{name}: shape {got}; allowed: {allowed}")

    def _check_matrices(self) -> None:
        dense = [*((f"encoder[{k}]", layer) for k, layer in enumerate(self.encoder)), *self._after()]
        matrices = {"weight_hh": self.weight_hh, "weight_ih": self.weight_ih} | {
            name: weight for name, (weight, _) in dense
        }
        for name, weight in matrices.items():
            if weight.ndim != 2 or not weight.size:
                raise InteropError(f"{name}: shape {weight.shape}; allowed: a matrix of one row and column, or more")

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        first = self.encoder[0][0] if self.encoder else self.weight_ih
        return int(first.shape[-1])

    @property
    def layers(self) -> tuple[Recurrent, ...]:
        """The recurrent layers."""
        return Recurrent(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh), *self.later

    def _after(self) -> list[tuple[str, Layer]]:
        layers = [(f"head[{k}]", layer) for k, layer in enumerate(self.head)]
        return layers if self.readout is None else [*layers, ("readout", self.readout)]

    def spec(self, dt_s: float, dtype: str, **limits: Any) -> Spec:
        """Return the spec of the controller.

        Raises:
            SpecError: dt_s or limits are not allowed.

        """
        n = self.weight_hh.shape[1]
        if self.initial is not None:
            limits["initial_state"] = "learned"
        if self.later:
            limits["layers"] = len(self.layers)
        encoder, head = (tuple(len(weight) for weight, _ in layers) for layers in (self.encoder, self.head))
        return Spec(
            cell=self.cell, inputs=self.inputs, neurons=n, outputs=n if self.readout is None else len(self.readout[0]),
            dt_s=dt_s, activation=self.activation, readout="identity" if self.readout is None else "affine",
            output_activation=self.output_activation, dtype=dtype,
            encoder=encoder, head=head, dense_activation=self.dense_activation if encoder or head else "relu",
            **self.fields, **limits,
        )  # fmt: skip

    def controller(self, spec: Spec) -> Controller:
        """Return the controller of a spec.

        Raises:
            LayoutError: a weight is NaN or infinite.

        """
        theta = np.zeros(layout(spec).size)
        blocks: Mapping[str, Array] = layout(spec).views(theta)
        two = 2 * spec.neurons
        for k, layer in enumerate(self.layers):
            w_in, u, b, d = (
                stack.of_layer(spec, name, k) for name in ("W_in", "U", "bias", "recurrent_bias")
            )  # fmt: skip
            blocks[w_in][:], blocks[u][:] = layer.weight_ih, layer.weight_hh
            blocks[b][:] = layer.bias_ih + layer.bias_hh
            if self.cell == "gru":  # the reset gate acts on the product with the state and its bias: they stay apart
                blocks[b][two:] = layer.bias_ih[two:]
                blocks[d][:] = layer.bias_hh[two:]
        for block, numbers in self.blocks.items():
            blocks[block][:] = numbers
        if self.readout is not None:
            blocks["W_out"][:], blocks["b_out"][:] = self.readout
        for title, layers in (("enc", self.encoder), ("head", self.head)):
            for k, (weight, bias) in enumerate(layers):
                blocks[f"W_{title}.{k}"][:], blocks[f"b_{title}.{k}"][:] = weight, bias
        if self.initial is not None:
            for h0, start in zip(stack.names(spec, "h0"), np.split(self.initial, len(self.layers)), strict=True):
                blocks[h0][:] = start
        return Controller(spec, theta)
