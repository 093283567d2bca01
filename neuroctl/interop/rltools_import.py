"""Policies of RLtools, as controllers: its HDF5 checkpoints, which hold an example that serves as proof."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import shown
from neuroctl.controller import Controller
from neuroctl.errors import InteropError, require
from neuroctl.interop.proof import prove_example
from neuroctl.interop.weights import Dense, Layer, Network, between
from neuroctl.io import file_name
from neuroctl.spec import MAX_SIZE, Limits

Array = NDArray[Any]

_ALLOWED: Final = "dense, mlp, one gru, and sample_and_squash at the end"
_SQUASHES: Final = {"IDENTITY": None, "RELU": "relu", "TANH": "tanh", "SIGMOID": "logistic"}
_MAX_EXAMPLE: Final = 10_000_000  # numbers


def from_rltools(
    source: str | os.PathLike[str],
    *,
    dt_s: float,
    input_limits: Limits | None = None,
    output_limits: Limits | None = None,
    dtype: str = "float32",
) -> Controller:
    """Return the controller that an RLtools checkpoint is, after a proof on the example in the file.

    Allowed are dense layers and MLPs before and after one GRU, whose initial state becomes the controller's; at the end
    ``sample_and_squash``, of which the mean's half is taken, through tanh. The proof steps the controller in float64
    through the example's inputs from reset; outputs may differ by 1e-5.

    Args:
        source: an HDF5 file with the groups ``actor`` and ``example``.
        dt_s: time between two steps, in seconds.
        input_limits: see ``Spec``.
        output_limits: see ``Spec``; the proof runs without them.
        dtype: of the controller.

    Raises:
        BackendUnavailable: h5py is not installed.
        InteropError: the file is none, it has other parts or sizes, or the proof failed.
        SpecError: dt_s, limits or dtype are not allowed.
        LayoutError: a weight is NaN or infinite.

    Example:
        >>> from_rltools("checkpoint.h5", dt_s=0.01)  # doctest: +SKIP
        <Controller gru: 22 inputs, 16 neurons, 4 outputs, encoder 16, dt_s 0.01, 2036 parameters, float32>

    """
    h5py = require("h5py", "interop")
    path = Path(file_name(source))
    if not path.is_file():
        raise InteropError(f"source: {shown(os.fspath(path))} is no file; allowed: an HDF5 checkpoint")
    try:
        with h5py.File(path, "r") as file:
            network = _network(file["actor"])
            inputs, outputs = (_example(file["example"][name]) for name in ("input", "output"))
    except InteropError:
        raise
    except Exception as error:  # of many kinds: what is no such file fails somewhere inside
        reason = " ".join(str(error).split())
        raise InteropError(f"source: {path.name}: {reason[:200]}; allowed: a checkpoint of RLtools") from error
    controller = network.controller(network.spec(dt_s, dtype, input_limits=input_limits, output_limits=output_limits))
    prove_example(network, inputs, outputs, dt_s)
    return controller


def _network(actor: Any) -> Network:
    before, after = Dense(), Dense()
    recurrent: dict[str, Array] | None = None
    for name, group in _layers(actor, "actor"):
        kind = str(group.attrs["type"])
        side = before if recurrent is None else after
        if kind == "gru" and recurrent is None:
            recurrent = _gru(group)
        elif kind == "dense":
            function = str(group.attrs["activation_function"])
            if function not in _SQUASHES:
                raise InteropError(f"{name}: activation_function {function}; allowed: {', '.join(_SQUASHES)}")
            side.add(_dense(group))
            if (squash := _SQUASHES[function]) is not None:
                side.squashed(squash)
        elif kind == "sample_and_squash" and side is after and after.layers and after.functions[-1] is None:
            weight, bias = after.layers[-1]
            after.layers[-1] = weight[: len(weight) // 2], bias[: len(bias) // 2]
            after.squashed("tanh")
        else:
            raise InteropError(f"{name}: {kind}; allowed: {_ALLOWED}")
    if recurrent is None:
        raise InteropError(f"actor: no gru; allowed: {_ALLOWED}")
    return between(before, after, cell="gru", activation=None, **recurrent)


def _layers(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the layers of a group in their order, those within others too."""
    kind = str(group.attrs["type"])
    if kind == "sequential":
        layers = group["layers"]
        for k in range(len(layers)):
            yield from _layers(layers[str(k)], f"{name}/layers/{k}")
    elif kind == "mlp":
        hidden = (f"hidden_layer_{k}" for k in range(int(group.attrs["num_layers"]) - 2))
        for part in chain(("input_layer",), hidden, ("output_layer",)):
            yield from _layers(group[part], f"{name}/{part}")
    else:
        yield name, group


def _values(group: Any, name: str) -> Array:
    """Return the parameters of a name in float64."""
    data = group[name]["parameters"]
    if data.dtype not in (np.float32, np.float64) or max(data.shape) > 3 * MAX_SIZE:
        allowed = f"float32 or float64, up to {3 * MAX_SIZE} rows and columns"
        raise InteropError(f"{data.name}: {data.dtype} of shape {data.shape}; allowed: {allowed}")
    values: Array = data[()].astype(np.float64)
    return values


def _dense(group: Any) -> Layer:
    return _values(group, "weights"), _values(group, "biases").ravel()


def _gru(group: Any) -> dict[str, Array]:
    """Return the fields of a ``Network``; gates are in torch's order, with the reset after the product."""
    initial = _values(group, "initial_hidden_state").ravel()
    fields = {
        "weight_ih": _values(group, "weights_input"), "weight_hh": _values(group, "weights_hidden"),
        "bias_ih": _values(group, "biases_input").ravel(), "bias_hh": _values(group, "biases_hidden").ravel(),
    }  # fmt: skip
    zeros = fields["weight_hh"].shape[-1:] == initial.shape and not initial.any()
    return fields | ({} if zeros else {"initial": initial})


def _example(data: Any) -> Array:
    if data.ndim != 3 or data.size > _MAX_EXAMPLE:
        raise InteropError(f"{data.name}: shape {data.shape}; allowed: steps, sequences and numbers of each")
    values: Array = data[()].astype(np.float64)
    return values
