"""Networks of torch, as controllers: a module, its weights by name, or a file of these."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import listed, one_of, shown
from neuroctl.controller import Controller
from neuroctl.errors import BackendUnavailable, InteropError, require
from neuroctl.interop.proof import UNEXPLAINED, prove
from neuroctl.interop.torch_run import module_run
from neuroctl.interop.weights import FUNCTIONS, GATES, Dense, Layer, Network, Recurrent, between, function_name
from neuroctl.io import file_name
from neuroctl.spec import DENSE_ACTIVATIONS, OUTPUT_ACTIVATIONS, Limits

Array = NDArray[Any]

_ALLOWED: Final = "one nn.RNN, nn.GRU, nn.RNNCell or nn.GRUCell, with nn.Linear before and after"
_IGNORED: Final = ("Identity", "Dropout")
_SQUASHES: Final = {"Tanh": "tanh", "Sigmoid": "logistic", "ReLU": "relu"}
_MAX_LINEAR: Final = 6
_SAVED: Final = (b"PK", *(bytes((0x80, protocol)) for protocol in range(2, 6)))
"""What files of torch.save begin with: an archive, or a pickle of a protocol."""
_RECURRENT: Final = re.compile(
    r"(?:(?P<prefix>.*)\.)?(?P<kind>weight|bias)_(?P<part>ih|hh|hr)(?:_l(?P<layer>[0-9]{1,4}))?(?P<back>_reverse)?"
)


def from_torch(
    source: Any,
    *,
    dt_s: float,
    activation: str | None = None,
    output_activation: str = "identity",
    dense_activation: str | None = None,
    input_limits: Limits | None = None,
    output_limits: Limits | None = None,
    dtype: str = "float32",
) -> Controller:
    """Return the controller that a torch network is, after a proof that both give the same outputs.

    Allowed are one ``nn.RNN``, ``nn.GRU``, ``nn.RNNCell`` or ``nn.GRUCell``, of one layer or several, and ``nn.Linear``
    before and after it, each with ``nn.ReLU``, ``nn.Tanh`` or ``nn.Sigmoid`` behind it, the same for all but the last;
    the last one of all, and the last one before the recurrent part, may have none. The proof runs source and controller
    in float64 on three random sequences of 1,000 steps; outputs may differ by 1e-5. Of a module a fourth has inputs of
    up to some 10,000, so that a clip within it is noticed.

    Args:
        source: a module with these parts, whose call takes inputs ``[T, 1, m]`` (``[1, T, m]`` with ``batch_first``)
            and returns outputs, or a tuple that begins with them, and whose parts are declared in the order of the
            call; or its state dict, or a dict that holds one, as checkpoints do; or a file of these: ``.pt`` or
            ``.pth``, of which weights alone are read, or ``.safetensors``.
        dt_s: time between two steps, in seconds.
        activation: of an RNN that is given by its weights: ``"tanh"`` or ``"relu"``; None for a GRU, or a module.
        output_activation: of a network that is given by its weights, what is applied to the last linear part:
            ``"identity"``, ``"tanh"``, ``"logistic"`` or ``"relu"``, or torch's name of it, such as ``"Sigmoid"``.
        dense_activation: of a network that is given by its weights and has more linear parts than that: what is applied
            to these, ``"relu"``, ``"tanh"`` or ``"logistic"``. Both also of a module whose ``forward`` calls functions,
            such as ``torch.relu``, and that has no modules of functions: the proof says whether they are right.
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
    activation, dense_activation = function_name(activation), function_name(dense_activation)
    output_activation = function_name(output_activation)
    own = isinstance(source, torch.nn.Module)
    with _parts_of(torch, source):
        if own:
            network = _of_module(torch, source, activation, output_activation, dense_activation, dtype)
            run = module_run(torch, source)
        else:
            weights = state_dict_of(torch, source)
            ordered = isinstance(source, Mapping) or not file_name(source).endswith(".safetensors")
            network = _of_weights(torch, weights, activation, output_activation, dense_activation, dtype, ordered)
            run = module_run(torch, _rebuilt(torch, network))
        spec = network.spec(dt_s, dtype, input_limits=input_limits, output_limits=output_limits)
        controller = network.controller(spec)
        prove(network, run, dt_s, code=own)
    return controller


@contextmanager
def _parts_of(torch: Any, source: Any) -> Iterator[None]:
    """Let errors of a user's own module say what is looked at: its parts, and not its ``forward``."""
    try:
        yield
    except InteropError as error:
        text = str(error)
        if not isinstance(source, torch.nn.Module) or type(source).forward is torch.nn.Sequential.forward:
            raise
        if ": shape " in text:
            raise InteropError(f"{text}; parts are taken in the order in which the module declares them") from error
        if UNEXPLAINED in text:
            raise InteropError(
                f"{text}; functions that forward calls, such as torch.relu, are not seen: allowed are modules such as "
                "nn.ReLU, declared in the order of the call, or without any dense_activation=; or a way by ONNX"
            ) from error
        raise


# --- Parts of a module ----------------------------------------------------------------------------------------------


def _of_module(
    torch: Any, module: Any, activation: str | None, output_activation: str, dense_activation: str | None, dtype: str
) -> Network:  # fmt: skip
    """Return the network that a module's parts are, in the order in which it has them."""
    if activation is not None:
        raise InteropError(f"activation: {shown(activation)}; allowed with a module, which has its own: nothing")
    named = {} if dense_activation is None else {"dense_activation": dense_activation}
    named |= {} if output_activation == "identity" else {"output_activation": output_activation}
    own = next((type(part).__name__ for part in module.modules() if type(part).__name__ in _SQUASHES), None)
    for field, value in named.items():
        if own is not None:
            raise InteropError(f"{field}: {shown(value)}; allowed with a module that has nn.{own}: nothing")
    recurrent, owners = None, []
    before, after = Dense(), Dense()
    for name, part in module.named_modules():
        where = name or "module"
        if isinstance(part, (torch.nn.RNNBase, torch.nn.RNNCellBase)):
            if recurrent is not None:
                raise InteropError(f"{where}: a second recurrent part; allowed: {_ALLOWED}")
            recurrent = part
            _check_recurrent(torch, where, part)
            owners.append(part)
        elif type(part).__module__.startswith("ncps."):
            raise InteropError(f"{where}: ncps' {type(part).__name__}; allowed: from_ncps, which takes CfCs")
        elif take_dense(torch, where, part, before if recurrent is None else after, dtype, _ALLOWED, bool(named)):
            owners.append(part)
    if recurrent is None:
        raise InteropError(f"module: {type(module).__name__} without a recurrent part; allowed: {_ALLOWED}")
    if named:
        _put_functions(before, after, output_activation, dense_activation)
    for name, _ in module.named_parameters():
        owner = module.get_submodule(name.rpartition(".")[0])
        if all(owner is not known for known in owners):
            raise InteropError(f"{name}: a parameter of {type(owner).__name__}; allowed: {_ALLOWED}")
    gru = isinstance(recurrent, (torch.nn.GRU, torch.nn.GRUCell))
    layers = [f"_l{k}" for k in range(recurrent.num_layers)] if isinstance(recurrent, torch.nn.RNNBase) else [""]
    weights = [
        {f"{kind}_{part}": getattr(recurrent, f"{kind}_{part}{layer}", None) for kind in ("weight", "bias")
         for part in ("ih", "hh")}
        for layer in layers
    ]  # fmt: skip
    activation = None if gru else str(recurrent.nonlinearity)
    return _network(torch, "gru" if gru else "elman", activation, weights, before, after, dtype)


def take_dense(
    torch: Any, where: str, part: Any, side: Dense, dtype: str, allowed: str, apart: bool = False
) -> bool:  # fmt: skip
    """Take a linear layer, or the function behind one, and return whether it was a layer.

    ``apart``: functions are put between the layers later; otherwise those without one become a product.

    Raises:
        InteropError: it is neither, nor made of other parts.

    """
    kind = type(part).__name__
    if isinstance(part, torch.nn.Linear):
        (side.put if apart else side.add)(take_layer(torch, where, part.weight, part.bias, dtype))
        return True
    if kind in _SQUASHES:
        if not side.squashed(_SQUASHES[kind]):
            raise InteropError(f"{where}: nn.{kind} that follows no nn.Linear; allowed: {allowed}")
    elif kind not in _IGNORED and not list(part.children()):
        raise InteropError(f"{where}: nn.{kind}; allowed: {allowed}")
    return False


def _check_recurrent(torch: Any, where: str, part: Any) -> None:
    kind = type(part).__name__
    if not isinstance(part, (torch.nn.RNN, torch.nn.GRU, torch.nn.RNNCell, torch.nn.GRUCell)):
        raise InteropError(f"{where}: nn.{kind}; allowed: {_ALLOWED}")
    for option, allowed in (("bidirectional", False), ("proj_size", 0)):
        if (value := getattr(part, option, allowed)) != allowed:
            raise InteropError(f"{where}: nn.{kind} with {option}={value}; allowed: {option}={allowed}")


def _network(
    torch: Any, cell: str, activation: str | None, layers: Sequence[Mapping[str, Any]], before: Dense, after: Dense,
    dtype: str,
) -> Network:  # fmt: skip
    """Return the network of each layer's tensors; biases that are None are 0."""
    recurrent: list[dict[str, Array]] = []
    for k, weights in enumerate(layers):
        title = f"_l{k}" if k else ""
        given = {name: tensor for name, tensor in weights.items() if tensor is not None}
        arrays = {
            name: take_array(torch, f"{name}{title}", tensor, dtype, 2 if name.startswith("weight") else 1)
            for name, tensor in given.items()
        }
        if len(given) == 3:
            missing = next(name for name in ("bias_ih", "bias_hh") if name not in given)
            raise InteropError(f"{missing}{title}: missing; allowed: both biases, or none")
        for part in ("ih", "hh"):
            arrays.setdefault(f"bias_{part}", np.zeros(len(arrays["weight_hh"])))
        recurrent.append(arrays)
    first, *later = recurrent
    others = tuple(Recurrent(**arrays) for arrays in later)
    return between(before, after, cell=cell, activation=activation, later=others, **first)


def take_layer(torch: Any, where: str, weight: Any, bias: Any, dtype: str) -> Layer:
    """Return a dense layer's tensors; a bias that is None is 0.

    Raises:
        InteropError: see ``take_array``.

    """
    values = take_array(torch, where, weight, dtype, 2)
    return values, np.zeros(len(values)) if bias is None else take_array(torch, f"{where}'s bias", bias, dtype, 1)


def take_array(torch: Any, name: str, tensor: Any, dtype: str, axes: int) -> Array:
    """Return a tensor of one or two axes in float64.

    Raises:
        InteropError: it is none, has other axes or no numbers, or the controller's dtype would round it.

    """
    exact = (torch.float16, torch.bfloat16, torch.float32) + ((torch.float64,) if dtype == "float64" else ())
    if not isinstance(tensor, torch.Tensor) or tensor.dtype not in exact or tensor.is_sparse:
        got = f"{tensor.dtype}" if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        names = ", ".join(str(kind).removeprefix("torch.") for kind in exact)
        raise InteropError(f"{name}: {got.removeprefix('torch.')}; allowed in {dtype}: {names}")
    try:
        array: Array = tensor.detach().to("cpu", torch.float64).numpy().copy()
    except Exception as error:  # of many kinds: tensors without numbers, such as meta, lazy and nested ones
        raise InteropError(f"{name}: {' '.join(str(error).split())[:120]}; allowed: numbers") from error
    if array.ndim != axes or not array.size:
        what = {1: "one axis", 2: "two axes"}[axes]
        raise InteropError(f"{name}: shape {array.shape}; allowed: {what}, with numbers")
    return array


# --- Weights by name ------------------------------------------------------------------------------------------------


def read_weights(torch: Any, source: Any) -> Mapping[str, Any]:
    """Read a state dict; nothing in the file is run.

    Raises:
        BackendUnavailable: what reads such files is not installed.
        InteropError: it is no file of weights alone.

    """
    path = Path(file_name(source))
    readers: dict[str, Callable[[], Any]] = {
        ".pt": lambda: torch.load(path, map_location="cpu", weights_only=True),
        ".pth": lambda: torch.load(path, map_location="cpu", weights_only=True),
        ".safetensors": lambda: require("safetensors.torch", "interop").load_file(path),
    }
    if path.suffix not in readers:
        what = "a folder" if path.is_dir() else shown(os.fspath(path))
        raise InteropError(f"source: {what}; allowed: a file that ends with {', '.join(readers)}")
    if not path.is_file():
        raise InteropError(f"source: {shown(os.fspath(path))} is no file; allowed: a file of weights")
    try:
        weights = readers[path.suffix]()
    except BackendUnavailable:
        raise
    except Exception as error:  # of many kinds: what is no file of weights fails somewhere inside
        reason = " ".join(str(error).split())
        if path.suffix != ".safetensors" and path.read_bytes()[:2] not in _SAVED:
            reason = "no file of torch.save" if path.stat().st_size else ""
        elif "weights_only" in reason or "Unsupported" in reason:
            reason = "it holds more than weights; save module.state_dict()"
        what = f"{path.name}: {reason[:200] or 'no weights in it'}"
        raise InteropError(f"source: {what}; allowed: a file of weights alone") from error
    if not isinstance(weights, Mapping):
        raise InteropError(f"source: {path.name} holds {type(weights).__name__}; allowed: a state dict")
    return weights


def state_dict_of(torch: Any, source: Any) -> Mapping[str, Any]:
    """Return the state dict of a mapping or a file; of a checkpoint that holds others besides, the only one in it.

    Raises:
        BackendUnavailable: see ``read_weights``.
        InteropError: see ``read_weights``; or there are several.

    """
    held: Mapping[str, Any] = source if isinstance(source, Mapping) else read_weights(torch, source)

    def weights(value: Any) -> bool:
        return isinstance(value, Mapping) and bool(value) and all(isinstance(v, torch.Tensor) for v in value.values())

    inside = [name for name, value in held.items() if weights(value)]
    if len(inside) > 1:
        allowed = "a file, or a dict, of one of them"
        raise InteropError(f"source: {len(inside)} state dicts, {listed(inside, '')}; allowed: {allowed}")
    only: Mapping[str, Any] = held[inside[0]] if inside else held
    return only


def is_cfc(weights: Mapping[str, Any]) -> bool:
    """Return whether weights by name are those of ncps' CfC.

    Raises:
        InteropError: they are those of its LTC.

    """
    if any(f".{name}".endswith(".sensory_erev") for name in weights):
        raise InteropError("source: weights of ncps' LTC; allowed: a CfC of ncps")
    return any(f".{name}".endswith(".ff1.weight") for name in weights)


def is_cfc_file(source: str | os.PathLike[str]) -> bool:
    """Return whether a file holds the weights of ncps' CfC.

    Raises:
        BackendUnavailable: torch, or what reads the file, is not installed.
        InteropError: it is no file of weights alone.

    """
    return is_cfc(state_dict_of(require("torch", "torch"), source))


def _of_weights(
    torch: Any, weights: Mapping[str, Any], activation: str | None, output_activation: str,
    dense_activation: str | None, dtype: str, ordered: bool,
) -> Network:  # fmt: skip
    """Return the network whose parts are told by the names, sizes and order of weights."""
    if is_cfc(weights):
        raise InteropError("source: weights of a CfC; allowed: from_ncps, which takes those")
    layers: dict[int, dict[str, Any]] = {}
    others: dict[str, Any] = {}
    prefixes, place = set(), 0
    for name, tensor in weights.items():
        match = _RECURRENT.fullmatch(str(name))
        if match is None:
            others[str(name)] = tensor
            place += not layers and str(name).endswith("weight")
            continue
        if match["part"] == "hr" or match["back"]:
            what = "a projection" if match["part"] == "hr" else "a second direction"
            raise InteropError(f"{name}: {what}; allowed: {_ALLOWED}")
        layers.setdefault(int(match["layer"] or 0), {})[f"{match['kind']}_{match['part']}"] = tensor
        prefixes.add(match["prefix"])
    parts = [layers.get(k, {}) for k in range(max(layers, default=0) + 1)]
    lacking = [k for k, part in enumerate(parts) if not {"weight_ih", "weight_hh"} <= part.keys()]
    if len(prefixes) > 1 or lacking:
        lack = f"no weight_ih and weight_hh{f' of layer {lacking[0]}' if lacking and lacking[0] else ''}"
        got = f"{len(prefixes)} recurrent parts" if len(prefixes) > 1 else lack
        raise InteropError(f"source: {got} among {listed(weights, 'no weights')}; allowed: {_ALLOWED}")
    own = parts[0]
    (rows, n), (_, m) = (take_array(torch, name, own[name], dtype, 2).shape for name in ("weight_hh", "weight_ih"))
    gates = rows / n
    cell = {count: cell for cell, count in GATES.items()}.get(gates)
    if cell is None:
        kind = "an LSTM" if gates == 4 else f"{gates:g} rows a neuron"
        raise InteropError(f"weight_hh: {kind}; allowed: {_ALLOWED}")
    fits = activation in ("tanh", "relu") if cell == "elman" else activation is None
    if not fits:
        allowed = "tanh or relu, for an RNN's weights" if cell == "elman" else "None, for a GRU"
        raise InteropError(f"activation: {_given(activation)}; allowed: {allowed}")
    before, after = _in_order(_linear(torch, others, dtype), place if ordered else None, m, n)
    _put_functions(before, after, output_activation, dense_activation)
    return _network(torch, cell, activation, parts, before, after, dtype)


def _put_functions(before: Dense, after: Dense, output_activation: str, dense_activation: str | None) -> None:
    """Put the functions that a user names behind layers without any.

    Raises:
        InteropError: they are not allowed for so many layers.

    """
    hidden = len(before.layers) + max(len(after.layers) - 1, 0)
    fits = dense_activation in DENSE_ACTIVATIONS if hidden else dense_activation is None
    if not fits:
        allowed = f"{FUNCTIONS}, for {hidden} linear parts besides the last" if hidden else "None, without such layers"
        raise InteropError(f"dense_activation: {_given(dense_activation)}; allowed: {allowed}")
    one_of("output_activation", output_activation, OUTPUT_ACTIVATIONS, error=InteropError)
    if output_activation != "identity" and not after.layers:
        raise InteropError(f"output_activation: {output_activation!r}; allowed without a last linear part: 'identity'")
    before.functions = [dense_activation] * len(before.layers)
    after.functions = [dense_activation] * len(after.layers)
    after.functions[-1:] = [output_activation if output_activation != "identity" else None] * bool(after.layers)


def _given(value: str | None) -> str:
    return "missing" if value is None else shown(value)


def _linear(torch: Any, others: Mapping[str, Any], dtype: str) -> dict[str, Layer]:
    """Return the linear parts of weights beside the recurrent ones."""
    found = {}
    for stem in dict.fromkeys(name.rpartition(".")[0] for name in others):
        parts = {name.rpartition(".")[2]: tensor for name, tensor in others.items() if name.rpartition(".")[0] == stem}
        if not {"weight"} <= parts.keys() <= {"weight", "bias"} or getattr(parts["weight"], "ndim", 0) != 2:
            raise InteropError(f"source: {listed(others, '')} beside the recurrent part; allowed: {_ALLOWED}")
        found[stem] = take_layer(torch, stem, parts["weight"], parts.get("bias"), dtype)
    return found


def _in_order(linear: Mapping[str, Layer], place: int | None, m: int, n: int) -> tuple[Dense, Dense]:
    """Return the linear parts before and after the recurrent one, which takes m and gives n numbers.

    A state dict has a module's order, in which the recurrent part stands at ``place``. A safetensors file has the
    names' order, place is None: the one order in which the sizes fit is taken.
    """
    names = tuple(linear)
    if place is None:
        names, place = _fitting(linear, names, m, n)
    before, after = Dense(), Dense()
    for k, name in enumerate(names):
        (before if k < place else after).put(linear[name])
    return before, after


def _fitting(linear: Mapping[str, Layer], names: tuple[str, ...], m: int, n: int) -> tuple[tuple[str, ...], int]:
    if len(names) > _MAX_LINEAR:
        raise InteropError(f"source: {len(names)} linear parts; allowed in a safetensors file: up to {_MAX_LINEAR}")
    places = range(len(names) + 1) if len(names) != 1 else (0,)  # one alone is the readout
    fits = [(order, place) for place in places for order in permutations(names) if _fits(linear, order, place, m, n)]
    if len(fits) > 1:
        allowed = "weights in order: a .pt file, or a module"
        raise InteropError(f"source: {', '.join(names)} fit in {len(fits)} orders; allowed: {allowed}")
    return fits[0] if fits else (names, 0)  # the sizes of what does not fit are refused


def _fits(linear: Mapping[str, Layer], order: tuple[str, ...], cut: int, m: int, n: int) -> bool:
    """Return whether each part takes as many numbers as the one before it gives."""
    shapes = [(weight.shape[1], weight.shape[0]) for weight, _ in (linear[name] for name in order)]
    shapes.insert(cut, (m, n))
    return all(before[1] == after[0] for before, after in pairwise(shapes))


def _rebuilt(torch: Any, network: Network) -> Any:
    """Return torch's own module of a network, to compare with."""
    n, m = network.weight_hh.shape[1], network.weight_ih.shape[1]
    kind = torch.nn.GRU if network.cell == "gru" else torch.nn.RNN
    options = {} if network.activation is None else {"nonlinearity": network.activation}
    recurrent = kind(m, n, num_layers=len(network.layers), dtype=torch.float64, **options)
    with torch.no_grad():
        for k, layer in enumerate(network.layers):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(recurrent, f"{name}_l{k}").copy_(torch.from_numpy(getattr(layer, name)))
    parts = [*_rebuilt_layers(torch, network.encoder, network.dense_activation), recurrent]
    parts += _rebuilt_layers(torch, network.head, network.dense_activation)
    last = () if network.readout is None else (network.readout,)
    return torch.nn.Sequential(*parts, *_rebuilt_layers(torch, last, network.output_activation))


def _rebuilt_layers(torch: Any, layers: Iterable[Layer], function: str) -> list[Any]:
    parts = []
    for weight, bias in layers:
        linear = torch.nn.Linear(*reversed(weight.shape), dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
            linear.bias.copy_(torch.from_numpy(bias))
        parts += [linear, *(getattr(torch.nn, name)() for name, squash in _SQUASHES.items() if squash == function)]
    return parts
