"""CfCs of ncps, the authors' package, as controllers: a module, its weights by name, or a file of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import ABOVE_0, FINITE, listed, number, one_of, shown
from neuroctl.controller import Controller
from neuroctl.errors import InteropError, require
from neuroctl.interop.proof import SQUASHES, Run, check_equal
from neuroctl.interop.torch_import import is_cfc, state_dict_of, take_array, take_dense, take_layer
from neuroctl.interop.torch_run import module_run, twin_of
from neuroctl.interop.weights import Dense, Layer, Network, between, function_name
from neuroctl.spec import MODES, OUTPUT_ACTIVATIONS, Limits

Array = NDArray[Any]

_ALLOWED: Final = "one CfC or CfCCell of ncps.torch, with nn.Linear before and after"
_KINDS: Final = ("CfC", "CfCCell", "WiredCfCCell")
_HEADS: Final = ("ff1", "ff2", "time_a", "time_b")
_FUNCTIONS: Final[Mapping[str, tuple[str, float, float]]] = {
    "lecun_tanh": ("tanh", 0.666, 1.7159), "tanh": ("tanh", 1.0, 1.0), "relu": ("relu", 1.0, 1.0),
}  # fmt: skip
"""The backbone's functions: b f(a x), as f, a and b."""
_NAMES: Final = {"LeCun": "lecun_tanh", "Tanh": "tanh", "ReLU": "relu"}


@dataclass(frozen=True)
class _Cell:
    """One cell's weights as ncps has them, in float64, and what they do not tell.

    ``backbone`` and ``heads`` are its layers; f and g have their wiring's mask in them.
    """

    backbone: tuple[Layer, ...]
    heads: Mapping[str, Layer]
    mode: str
    activation: str
    timespan: float

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return len(self.heads["ff1"][0])

    def recurrent(self) -> dict[str, Any]:
        """Return the fields of a ``Network``: constants of functions, and the time, become part of the weights."""
        n, (function, inner, outer) = self.neurons, _FUNCTIONS[self.activation]
        before = outer if self.backbone else 1.0
        (a, a_bias), (b, b_bias) = self.heads["time_a"], self.heads["time_b"]
        ff = tuple(np.concatenate(part) for part in zip(self.heads["ff1"], self.heads["ff2"], strict=True))
        time = self.timespan * a + b, self.timespan * a_bias + b_bias
        layers = [(inner * (outer if k else 1.0) * weight, inner * bias) for k, (weight, bias) in
                  enumerate(self.backbone)]  # fmt: skip
        heads = {"ff": (before * ff[0], ff[1]), "time": (before * time[0], time[1])}
        blocks: dict[str, Array] = {}
        if layers:
            named = {f"backbone.{k}": layer for k, layer in enumerate(layers) if k} | heads
            for name, (weight, bias) in named.items():
                blocks |= {f"W_{name}": weight, f"b_{name}": bias}
            weight, bias = layers[0]
        else:
            weight, bias = (np.concatenate(part) for part in zip(*heads.values(), strict=True))
        fields = {"backbone": tuple(len(bias) for _, bias in layers), "mode": self.mode}
        return {
            "cell": "cfc", "activation": function, "weight_ih": weight[:, :-n], "weight_hh": weight[:, -n:],
            "bias_ih": bias, "bias_hh": np.zeros(len(bias)), "blocks": blocks, "fields": fields,
        }  # fmt: skip

    def run(self, u: Array) -> Array:
        """Return the states ``[T, n]`` that inputs ``[T, m]`` lead to, in plain NumPy by the equations of ncps."""
        h, rows = np.zeros(self.neurons), []
        for row in u:
            x = np.concatenate([row, h])
            for weight, bias in self.backbone:
                x = _plain(self.activation, weight @ x + bias)
            f, g, a, b = (self.heads[name][0] @ x + self.heads[name][1] for name in _HEADS)
            t = SQUASHES["logistic"](a * self.timespan + b)
            kept = 1.0 if self.mode == "no_gate" else 1.0 - t
            h = np.tanh(f) * kept + t * np.tanh(g)
            rows.append(h)
        return np.array(rows)


def _plain(name: str, x: Array) -> Array:
    function, inner, outer = _FUNCTIONS[name]
    value: Array = np.maximum(x, 0.0) if function == "relu" else outer * np.tanh(inner * x)
    return value


def from_ncps(
    source: Any,
    *,
    dt_s: float,
    timespan: float = 1.0,
    mode: str | None = None,
    activation: str | None = None,
    output_activation: str = "identity",
    input_limits: Limits | None = None,
    output_limits: Limits | None = None,
    dtype: str = "float32",
) -> Controller:
    """Return the controller that a CfC of ncps is, after a proof that both give the same outputs.

    Allowed are one ``CfC`` or ``CfCCell`` of ``ncps.torch`` in the modes ``default`` and ``no_gate``, with or without a
    backbone of ``lecun_tanh``, ``tanh`` or ``relu``, with or without ``proj_size``, or with a wiring of one layer,
    whose missing connections become weights of 0; and ``nn.Linear`` before and after it, as for ``from_torch``. The
    proof runs source and controller in float64 on three random sequences of 1,000 steps, and for a module on one of
    large inputs, see ``from_torch``; outputs may differ by 1e-5. For weights by name the source is a plain form of
    ncps' equations.

    Args:
        source: a module with these parts, or the state dict of a ``CfC`` or ``CfCCell``, or a file of the state dict:
            ``.pt`` or ``.pth``, of which weights alone are read, or ``.safetensors``.
        dt_s: time between two steps, in seconds.
        timespan: what ncps was given as the time between two steps, in its own unit; 1 where it was given none.
        mode: of weights by name, which do not tell it: ``"default"`` or ``"no_gate"``; a module has its own.
        activation: of weights by name that have a backbone, whose function they do not tell: ``"lecun_tanh"``, ncps'
            own where it was given none, ``"tanh"`` or ``"relu"``; a module has its own.
        output_activation: of weights by name with ``fc``: what is applied to it, see ``Spec``.
        input_limits: see ``Spec``.
        output_limits: see ``Spec``.
        dtype: of the controller. ``"float32"`` refuses float64 weights, which it would round.

    Raises:
        BackendUnavailable: torch is not installed.
        InteropError: the network has other parts, modes or sizes, its weights are of another type, or the proof failed.
        SpecError: dt_s, limits or dtype are not allowed.
        LayoutError: a weight is NaN or infinite.

    Example:
        >>> import torch
        >>> from ncps.torch import CfC
        >>> from_ncps(CfC(3, 8, proj_size=2, backbone_units=16), dt_s=0.02)
        <Controller cfc: 3 inputs, 8 neurons, 2 outputs, backbone 16, dt_s 0.02, 618 parameters, float32>

    """
    torch = require("torch", "torch")
    activation, output_activation = function_name(activation), function_name(output_activation)
    allowed = "a number above 0, 1 where ncps was given none"
    timespan = number("timespan", timespan, ABOVE_0, FINITE, allowed, error=InteropError)
    if isinstance(source, torch.nn.Module):
        given = {"mode": mode, "activation": activation}
        given |= {} if output_activation == "identity" else {"output_activation": output_activation}
        for field, value in given.items():
            if value is not None:
                raise InteropError(f"{field}: {shown(value)}; allowed with a module, which has its own: nothing")
        network, run = _of_module(torch, source, timespan, dtype)
    else:
        weights = state_dict_of(torch, source)
        network, run = _of_weights(torch, weights, timespan, mode, activation, output_activation, dtype)
    controller = network.controller(network.spec(dt_s, dtype, input_limits=input_limits, output_limits=output_limits))
    exact = network.controller(network.spec(dt_s, "float64"))
    own = isinstance(source, torch.nn.Module)
    check_equal(exact, run, why=lambda: f"; its parts, at a timespan of {timespan:g}, give ours", code=own)
    return controller


# --- Modules --------------------------------------------------------------------------------------------------------


def _of_module(torch: Any, module: Any, timespan: float, dtype: str) -> tuple[Network, Run]:
    found, inside, owners = None, "", []
    before, after = Dense(), Dense()
    for name, part in module.named_modules():
        kind, where = type(part).__name__, name or "module"
        if found is not None and (not inside or name.startswith(inside)):
            continue
        if type(part).__module__.startswith("ncps."):
            if found is not None or kind not in _KINDS:
                what = "a second recurrent part" if kind in _KINDS else f"ncps' {kind}"
                raise InteropError(f"{where}: {what}; allowed: {_ALLOWED}")
            found, inside = _of_part(torch, where, part, timespan, after, dtype), f"{name}." if name else ""
            owners += list(part.modules())
        elif take_dense(torch, where, part, before if found is None else after, dtype, _ALLOWED):
            owners.append(part)
    if found is None:
        raise InteropError(f"module: {type(module).__name__} without a CfC; allowed: {_ALLOWED}")
    for name, _ in module.named_parameters():
        owner = module.get_submodule(name.rpartition(".")[0])
        if all(owner is not known for known in owners):
            raise InteropError(f"{name}: a parameter of {type(owner).__name__}; allowed: {_ALLOWED}")
    return between(before, after, **found.recurrent()), _run(torch, module, timespan)


def _of_part(torch: Any, where: str, part: Any, timespan: float, after: Dense, dtype: str) -> _Cell:
    cell = part
    if type(part).__name__ == "CfC":
        if part.use_mixed:
            raise InteropError(f"{where}: ncps' CfC with mixed_memory=True; allowed: False")
        cell = part.rnn_cell
        if isinstance(part.fc, torch.nn.Linear):
            after.add(take_layer(torch, f"{where}.fc", part.fc.weight, part.fc.bias, dtype))
    weights = {str(name): tensor for name, tensor in cell.state_dict().items()}
    weights, place = _one_layer(weights)
    cell = cell.get_submodule(place.rstrip(".")) if place else cell
    function = "lecun_tanh" if cell.backbone is None else type(cell.backbone[1]).__name__
    activation = _NAMES.get(function, function)
    if activation not in _FUNCTIONS:
        raise InteropError(f"{where}: a backbone of {function}; allowed: {', '.join(_FUNCTIONS)}")
    return _cell(torch, weights, cell.mode, activation, timespan, dtype)


def _run(torch: Any, module: Any, timespan: float) -> Run:
    """Return what runs a copy of a module in float64; a CfC or a cell by itself is given the timespan."""
    twin = twin_of(torch, module)
    for part in twin.modules():
        if type(part).__name__ == "CfC":
            part.return_sequences = True
    kind = type(module).__name__
    if not type(module).__module__.startswith("ncps.") or (kind == "CfC" and timespan == 1.0):
        return module_run(torch, twin)

    def run(u: Array) -> Array:
        rows = torch.from_numpy(u)
        with torch.no_grad():
            if kind == "CfC":
                spans = torch.full((1, len(u)) if twin.batch_first else (len(u), 1), timespan, dtype=torch.float64)
                outputs = twin(rows[None] if twin.batch_first else rows[:, None], timespans=spans)[0]
            else:
                size = twin.state_size if kind == "WiredCfCCell" else twin.hidden_size
                state, steps = torch.zeros(1, size, dtype=torch.float64), []
                for row in rows:
                    y, state = twin(row[None], state, timespan)
                    steps.append(y)
                outputs = torch.cat(steps)
        numbers: Array = outputs.reshape(len(u), -1).numpy()
        return numbers

    return run


# --- Weights by name ------------------------------------------------------------------------------------------------


def _of_weights(
    torch: Any, weights: Mapping[str, Any], timespan: float, mode: str | None, activation: str | None,
    output_activation: str, dtype: str,
) -> tuple[Network, Run]:  # fmt: skip
    prefix = next((str(name).removesuffix("ff1.weight") for name in weights if str(name).endswith("ff1.weight")), None)
    if prefix is None or not is_cfc(weights):
        raise InteropError(f"source: no ff1.weight among {listed(weights, 'no weights')}; allowed: "
                           f"the weights of {_ALLOWED.partition(',')[0]}")  # fmt: skip
    head, inner = prefix.partition("layer_")[0], len(prefix.partition("layer_")[0])
    outer = head.removesuffix("rnn_cell.")
    own = {str(name)[inner:]: tensor for name, tensor in weights.items() if str(name).startswith(head)}
    others = {str(name): tensor for name, tensor in weights.items() if not str(name).startswith(head)}
    fc = {name: others.pop(f"{outer}fc.{name}", None) for name in ("weight", "bias")} if head != outer else {}
    if not head:
        fc, others = {}, {name: own.pop(name) for name in list(own) if name.startswith(("fc.", "lstm."))}
    if others:
        lstm = any(name.startswith(f"{outer}lstm.") for name in others)
        what = "mixed_memory=True" if lstm else f"{listed(others, '')} beside the CfC"
        raise InteropError(f"source: {what}; allowed: the weights of a CfC alone, or the module in Python (from_ncps)")
    own, _ = _one_layer(own)
    backbone = any(name.startswith("backbone.") for name in own)
    cell = _cell(torch, own, str(mode), str(activation) if backbone else "lecun_tanh", timespan, dtype)
    _check_named(mode, activation, backbone=backbone)
    after = Dense()
    one_of("output_activation", output_activation, OUTPUT_ACTIVATIONS, error=InteropError)
    if fc.get("weight") is None and fc.get("bias") is not None:
        raise InteropError("fc.weight: missing; allowed: weight and bias, or neither")
    if fc.get("weight") is not None:
        after.add(take_layer(torch, "fc", fc["weight"], fc["bias"], dtype))
    if output_activation != "identity" and not after.squashed(output_activation):
        raise InteropError(f"output_activation: {shown(output_activation)}; allowed without fc: 'identity'")
    network = between(Dense(), after, **cell.recurrent())

    def run(u: Array) -> Array:
        states = cell.run(u)
        if network.readout is None:
            return states
        outputs: Array = SQUASHES[output_activation](states @ network.readout[0].T + network.readout[1])
        return outputs

    return network, run


def _check_named(mode: str | None, activation: str | None, *, backbone: bool) -> None:
    """Refuse to guess what weights do not tell: without a backbone the mode alone."""
    named = {"mode": (mode, MODES, "default"), "activation": (activation, tuple(_FUNCTIONS), "lecun_tanh")}
    if not backbone:
        if activation is not None:
            raise InteropError(f"activation: {shown(activation)}; allowed: None, without a backbone")
        del named["activation"]
    for field, (value, known, usual) in named.items():
        if value not in known:
            untold = f", which weights do not tell; CfC's default is {usual}" if value is None else ""
            got = "missing" if value is None else shown(value)
            raise InteropError(f"{field}: {got}; allowed: {', '.join(known)}{untold}")


def _one_layer(weights: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return a cell's weights, and the name in front of them where the cell is wired."""
    layers = list(dict.fromkeys(name.partition(".")[0] for name in weights if name.startswith("layer_")))
    if len(layers) > 1:
        raise InteropError(
            f"wiring: {len(layers)} layers, each of which takes the new state of the one before it; allowed: a wiring "
            "of one layer, not NCP or AutoNCP"
        )
    place = f"{layers[0]}." if layers else ""
    return {name.removeprefix(place): tensor for name, tensor in weights.items()}, place


def _cell(
    torch: Any, weights: Mapping[str, Any], mode: str, activation: str, timespan: float, dtype: str
) -> _Cell:  # fmt: skip
    """Return a cell of its own names; sizes that do not fit each other are refused."""
    if mode == "pure" or not {"w_tau", "A"}.isdisjoint(weights):
        raise InteropError(f"mode: 'pure'; allowed: {', '.join(MODES)}")
    stems = [f"backbone.{k}" for k in sorted({int(name.split(".")[1]) for name in weights if _in_backbone(name)})]
    missing = [f"{stem}.{part}" for stem in (*stems, *_HEADS) for part in ("weight", "bias")
               if weights.get(f"{stem}.{part}") is None]  # fmt: skip
    known = {f"{stem}.{part}" for stem in (*stems, *_HEADS) for part in ("weight", "bias")} | {"sparsity_mask"}
    if missing or (unknown := sorted(set(weights) - known)):
        what = f"{missing[0]}: missing" if missing else f"{listed(unknown[:1], '')}: no weight of a CfC"
        raise InteropError(f"{what}; allowed: the weights of {_ALLOWED.partition(',')[0]}")
    layers = {stem: take_layer(torch, stem, weights[f"{stem}.weight"], weights[f"{stem}.bias"], dtype)
              for stem in (*stems, *_HEADS)}  # fmt: skip
    n = len(layers["ff1"][1])
    width = layers[(*stems, "ff1")[0]][0].shape[-1]
    if width <= n:
        raise InteropError(f"{(*stems, 'ff1')[0]}: {width} columns; allowed: more than the {n} neurons")
    for stem, (weight, bias) in layers.items():
        rows = n if stem in _HEADS else len(bias)
        if weight.shape != (rows, width) or bias.shape != (rows,):
            raise InteropError(f"{stem}: shapes {weight.shape} and {bias.shape}; allowed: {(rows, width)}, {(rows,)}")
        width = rows if stem in stems else width
    if "sparsity_mask" in weights:
        mask = take_array(torch, "sparsity_mask", weights["sparsity_mask"], dtype, 2)
        if mask.shape != layers["ff1"][0].shape:
            raise InteropError(f"sparsity_mask: shape {mask.shape}; allowed: {layers['ff1'][0].shape}")
        layers |= {stem: (layers[stem][0] * mask, layers[stem][1]) for stem in ("ff1", "ff2")}
    heads = {stem: layers[stem] for stem in _HEADS}
    return _Cell(tuple(layers[stem] for stem in stems), heads, mode, activation, timespan)


def _in_backbone(name: str) -> bool:
    parts = name.split(".")
    return len(parts) == 3 and parts[0] == "backbone" and parts[1].isdecimal() and len(parts[1]) < 5
