"""Networks of torch, as controllers: a module, its weights by name, or a file of these."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import shown
from neuroctl.controller import Controller
from neuroctl.errors import BackendUnavailable, InteropError, require
from neuroctl.interop.proof import Run, prove
from neuroctl.interop.weights import GATES, Network
from neuroctl.io import file_name

Array = NDArray[Any]
Limits = tuple[tuple[float, float], ...]

_ALLOWED: Final = "one nn.RNN, nn.GRU, nn.RNNCell or nn.GRUCell of one layer, then at most one nn.Linear"
_IGNORED: Final = ("Identity", "Dropout")
_SQUASHES: Final = {"Tanh": "tanh", "Sigmoid": "logistic"}
_RECURRENT: Final = re.compile(
    r"(?:(?P<prefix>.*)\.)?(?P<kind>weight|bias)_(?P<part>ih|hh|hr)(?:_l(?P<layer>\d+))?(?P<back>_reverse)?"
)


def from_torch(
    source: Any,
    *,
    dt_s: float,
    activation: str | None = None,
    output_activation: str = "identity",
    input_limits: Limits | None = None,
    output_limits: Limits | None = None,
    dtype: str = "float32",
) -> Controller:
    """Return the controller that a torch network is, after a proof that both give the same outputs.

    Allowed are one ``nn.RNN``, ``nn.GRU``, ``nn.RNNCell`` or ``nn.GRUCell`` of one layer, and after it at most one
    ``nn.Linear``, which may be followed by ``nn.Tanh`` or ``nn.Sigmoid``. The proof runs source and controller in
    float64 on three random sequences of 1,000 steps; outputs may differ by 1e-5.

    Args:
        source: a module with these parts, whose call takes inputs ``[T, 1, m]`` (``[1, T, m]`` with ``batch_first``)
            and returns outputs, or a tuple that begins with them; or its state dict; or a file of the state dict:
            ``.pt`` or ``.pth``, of which weights alone are read, or ``.safetensors``.
        dt_s: time between two steps, in seconds.
        activation: of an RNN that is given by its weights: ``"tanh"`` or ``"relu"``; None for a GRU, or a module.
        output_activation: of a network that is given by its weights, what is applied to the linear part:
            ``"identity"``, ``"tanh"`` or ``"logistic"``.
        input_limits: see ``Spec``.
        output_limits: see ``Spec``.
        dtype: of the controller. ``"float32"`` refuses float64 weights, which it would round.

    Raises:
        BackendUnavailable: torch is not installed.
        InteropError: the network has other parts or sizes, its weights are of another type, or the proof failed.
        FileFormatError: the file cannot be read as weights.
        SpecError: dt_s, limits or dtype are not allowed.
        LayoutError: a weight is NaN or infinite.

    Example:
        >>> import torch
        >>> gru = torch.nn.GRU(input_size=3, hidden_size=8)
        >>> from_torch(gru, dt_s=0.02)
        <Controller gru: 3 inputs, 8 neurons, 8 outputs, dt_s 0.02, 296 parameters, float32>

    """
    torch = require("torch", "torch")
    if isinstance(source, torch.nn.Module):
        if activation is not None or output_activation != "identity":
            field = "activation" if activation is not None else "output_activation"
            value = shown(activation if activation is not None else output_activation)
            raise InteropError(f"{field}: {value}; allowed with a module, which has its own: nothing")
        network, run = _of_module(torch, source, dtype), _module_run(torch, source)
    else:
        weights = source if isinstance(source, Mapping) else _file(torch, source)
        network = _of_weights(torch, weights, activation, output_activation, dtype)
        run = _module_run(torch, _rebuilt(torch, network))
    controller = network.controller(network.spec(dt_s, dtype, input_limits=input_limits, output_limits=output_limits))
    prove(network, run, dt_s)
    return controller


# --- Parts of a module ----------------------------------------------------------------------------------------------


def _of_module(torch: Any, module: Any, dtype: str) -> Network:
    """Return the network that a module's parts are, in the order in which it has them."""
    recurrent, linear, squash = None, None, "identity"
    for name, part in module.named_modules():
        kind = type(part).__name__
        where = name or "module"
        if isinstance(part, (torch.nn.RNNBase, torch.nn.RNNCellBase)):
            if recurrent is not None:
                raise InteropError(f"{where}: a second recurrent part; allowed: {_ALLOWED}")
            recurrent = part
            _check_recurrent(torch, where, part)
        elif isinstance(part, torch.nn.Linear):
            if recurrent is None or linear is not None:
                place = "before the recurrent part" if recurrent is None else "a second one"
                raise InteropError(f"{where}: nn.Linear, {place}; allowed: {_ALLOWED}")
            linear = part
        elif kind in _SQUASHES and linear is not None:
            squash = _SQUASHES[kind]
        elif kind not in _IGNORED and not list(part.children()):
            raise InteropError(f"{where}: nn.{kind}; allowed: {_ALLOWED}")
    if recurrent is None:
        raise InteropError(f"module: {type(module).__name__} without a recurrent part; allowed: {_ALLOWED}")
    for name, _ in module.named_parameters():
        owner = module.get_submodule(name.rpartition(".")[0])
        if owner is not recurrent and owner is not linear:
            raise InteropError(f"{name}: a parameter of {type(owner).__name__}; allowed: {_ALLOWED}")
    gru = isinstance(recurrent, (torch.nn.GRU, torch.nn.GRUCell))
    suffix = "_l0" if isinstance(recurrent, torch.nn.RNNBase) else ""
    weights = {f"{kind}_{part}": getattr(recurrent, f"{kind}_{part}{suffix}", None)
               for kind in ("weight", "bias") for part in ("ih", "hh")}  # fmt: skip
    activation = None if gru else str(recurrent.nonlinearity)
    readout = None if linear is None else (linear.weight, linear.bias)
    return _network(torch, "gru" if gru else "elman", activation, weights, readout, squash, dtype)


def _check_recurrent(torch: Any, where: str, part: Any) -> None:
    kind = type(part).__name__
    if not isinstance(part, (torch.nn.RNN, torch.nn.GRU, torch.nn.RNNCell, torch.nn.GRUCell)):
        raise InteropError(f"{where}: nn.{kind}; allowed: {_ALLOWED}")
    for option, allowed in (("num_layers", 1), ("bidirectional", False), ("proj_size", 0)):
        if (value := getattr(part, option, allowed)) != allowed:
            raise InteropError(f"{where}: nn.{kind} with {option}={value}; allowed: {option}={allowed}")


def _network(
    torch: Any, cell: str, activation: str | None, weights: Mapping[str, Any], readout: Any, squash: str, dtype: str
) -> Network:
    """Return the network of tensors; biases that are None are 0."""
    arrays = {name: _array(torch, name, tensor, dtype) for name, tensor in weights.items() if tensor is not None}
    for part in ("ih", "hh"):
        arrays.setdefault(f"bias_{part}", np.zeros(len(arrays["weight_hh"])))
    out = None
    if readout is not None:
        weight = _array(torch, "readout", readout[0], dtype)
        bias = np.zeros(len(weight)) if readout[1] is None else _array(torch, "readout's bias", readout[1], dtype)
        out = weight, bias
    return Network(cell, activation, **arrays, readout=out, output_activation=squash)


def _array(torch: Any, name: str, tensor: Any, dtype: str) -> Array:
    """Return a tensor in float64; what the controller's dtype would round is refused."""
    exact = (torch.float16, torch.bfloat16, torch.float32) + ((torch.float64,) if dtype == "float64" else ())
    if not isinstance(tensor, torch.Tensor) or tensor.dtype not in exact or tensor.is_sparse:
        got = f"{tensor.dtype}" if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        names = ", ".join(str(kind).removeprefix("torch.") for kind in exact)
        raise InteropError(f"{name}: {got.removeprefix('torch.')}; allowed in {dtype}: {names}")
    array: Array = tensor.detach().to("cpu", torch.float64).numpy().copy()
    return array


# --- Weights by name ------------------------------------------------------------------------------------------------


def _file(torch: Any, source: Any) -> Mapping[str, Any]:
    """Read a state dict; nothing in the file is run."""
    path = Path(file_name(source))
    readers: dict[str, Callable[[], Any]] = {
        ".pt": lambda: torch.load(path, map_location="cpu", weights_only=True),
        ".pth": lambda: torch.load(path, map_location="cpu", weights_only=True),
        ".safetensors": lambda: require("safetensors.torch", "interop").load_file(path),
    }
    if path.suffix not in readers:
        raise InteropError(f"source: {shown(os.fspath(path))}; allowed: a file that ends with {', '.join(readers)}")
    if not path.is_file():
        raise InteropError(f"source: {shown(os.fspath(path))} is no file; allowed: a file of weights")
    try:
        weights = readers[path.suffix]()
    except BackendUnavailable:
        raise
    except Exception as error:  # of many kinds: what is no file of weights fails somewhere inside
        reason = " ".join(str(error).split())
        if "weights_only" in reason or "Unsupported" in reason:
            reason = "it holds more than weights; save module.state_dict()"
        raise InteropError(f"source: {path.name}: {reason[:200]}") from error
    if not isinstance(weights, Mapping):
        raise InteropError(f"source: {path.name} holds {type(weights).__name__}; allowed: a state dict")
    return weights


def _of_weights(
    torch: Any, weights: Mapping[str, Any], activation: str | None, output_activation: str, dtype: str
) -> Network:
    """Return the network whose parts are told by the names and sizes of weights."""
    own: dict[str, Any] = {}
    others: dict[str, Any] = {}
    prefixes = set()
    for name, tensor in weights.items():
        match = _RECURRENT.fullmatch(str(name))
        if match is None:
            others[str(name)] = tensor
            continue
        if match["part"] == "hr" or match["back"] or match["layer"] not in (None, "0"):
            what = {"hr": "a projection"}.get(
                match["part"], "a second direction" if match["back"] else "a second layer"
            )
            raise InteropError(f"{name}: {what}; allowed: {_ALLOWED}")
        own[f"{match['kind']}_{match['part']}"] = tensor
        prefixes.add(match["prefix"])
    if len(prefixes) > 1 or not {"weight_ih", "weight_hh"} <= own.keys():
        got = f"{len(prefixes)} recurrent parts" if len(prefixes) > 1 else "no weight_ih and weight_hh"
        raise InteropError(f"source: {got} among {', '.join(map(str, weights)) or 'no weights'}; allowed: {_ALLOWED}")
    n = own["weight_hh"].shape[-1]
    gates = own["weight_hh"].shape[0] / n
    cell = {count: cell for cell, count in GATES.items()}.get(gates)
    if cell is None:
        kind = "an LSTM" if gates == 4 else f"{gates:g} rows a neuron"
        raise InteropError(f"weight_hh: {kind}; allowed: {_ALLOWED}")
    if (cell == "elman") != (activation in ("tanh", "relu")):
        allowed = "tanh or relu, for an RNN's weights" if cell == "elman" else "None, for a GRU"
        raise InteropError(f"activation: {shown(activation)}; allowed: {allowed}")
    return _network(torch, cell, activation, own, _linear(others), output_activation, dtype)


def _linear(others: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """Return weight and bias of the one linear part."""
    if not others:
        return None
    stems = {name.rpartition(".")[0] for name in others}
    stem = next(iter(stems))
    left = dict(others)
    weight, bias = left.pop(f"{stem}.weight", None), left.pop(f"{stem}.bias", None)
    if len(stems) > 1 or left or weight is None or weight.ndim != 2:
        raise InteropError(f"source: {', '.join(others)} beside the recurrent part; allowed: {_ALLOWED}")
    return weight, bias


def _rebuilt(torch: Any, network: Network) -> Any:
    """Return torch's own module of a network, to compare with."""
    n, m = network.weight_hh.shape[1], network.weight_ih.shape[1]
    kind = torch.nn.GRU if network.cell == "gru" else torch.nn.RNN
    options = {} if network.activation is None else {"nonlinearity": network.activation}
    recurrent = kind(m, n, dtype=torch.float64, **options)
    parts = [recurrent]
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(recurrent, f"{name}_l0").copy_(torch.from_numpy(getattr(network, name)))
        if network.readout is not None:
            linear = torch.nn.Linear(n, len(network.readout[0]), dtype=torch.float64)
            linear.weight.copy_(torch.from_numpy(network.readout[0]))
            linear.bias.copy_(torch.from_numpy(network.readout[1]))
            parts.append(linear)
            parts += [
                getattr(torch.nn, name)() for name, squash in _SQUASHES.items() if squash == network.output_activation
            ]
    return torch.nn.Sequential(*parts)


# --- Running a module -----------------------------------------------------------------------------------------------


def _module_run(torch: Any, module: Any) -> Run:
    """Return what runs a copy of a module in float64, from a state of 0."""
    twin = copy.deepcopy(module).to("cpu", torch.float64).eval()
    first = any(getattr(part, "batch_first", False) for part in twin.modules())

    def run(u: Array) -> Array:
        rows = torch.from_numpy(u)[None] if first else torch.from_numpy(u)[:, None]
        with torch.no_grad():
            try:
                outputs = _called(torch, twin, rows, first)
            except InteropError:
                raise
            except Exception as error:  # the user's module may raise anything
                text = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
                raise InteropError(
                    f"source: with inputs {tuple(rows.shape)} it raised {text}; allowed: a module that takes them, or "
                    "its state dict"
                ) from error
        numbers: Array = outputs.reshape(len(u), -1).numpy()
        return numbers

    return run


def _called(torch: Any, module: Any, rows: Any, first: bool) -> Any:
    """Call a module; of a tuple, outputs are the first part. Cells are called step by step."""
    if isinstance(module, torch.nn.RNNCellBase):
        state, states = None, []
        for row in rows.transpose(0, 1) if first else rows:
            state = module(row, state)
            states.append(state)
        return torch.stack(states)
    if isinstance(module, torch.nn.Sequential):
        for part in module:
            rows = _called(torch, part, rows, first)
        return rows
    outputs = module(rows)
    while isinstance(outputs, (tuple, list)):
        outputs = outputs[0]
    if not isinstance(outputs, torch.Tensor):
        raise InteropError(
            f"source: its call returned {type(outputs).__name__}; allowed: outputs, or a tuple of them first"
        )
    return outputs
