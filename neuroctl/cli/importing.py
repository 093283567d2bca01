"""The command that takes over networks that others trained."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from neuroctl import io
from neuroctl.checks import shown
from neuroctl.console import out
from neuroctl.controller import Controller
from neuroctl.errors import InteropError, SpecError
from neuroctl.spec import Limits, Spec

_TORCH: Final = (".pt", ".pth", ".safetensors")
_OTHERS: Final = {".onnx": "ONNX", ".h5": "RLtools", ".hdf5": "RLtools"}


def import_network(
    file: Annotated[
        Path,
        typer.Argument(
            help="A torch state dict (.pt or .pth, of which weights alone are read, or .safetensors), an ONNX "
            "file (.onnx), or an RLtools checkpoint (.h5)."
        ),
    ],
    out_file: Annotated[Path, typer.Option("--out", help="Controller file to write (.npz).")],
    dt_s: Annotated[float, typer.Option("--dt", help="Seconds between two steps.")],
    activation: Annotated[
        str | None, typer.Option(help="Of a plain RNN: tanh or relu; of a CfC's backbone also lecun_tanh.")
    ] = None,
    output_activation: Annotated[
        str, typer.Option(help="Applied to the last linear layer: identity, tanh, logistic or relu.")
    ] = "identity",
    dense_activation: Annotated[
        str | None, typer.Option(help="Applied to all other linear layers: relu, tanh or logistic.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="Of a CfC of ncps: default or no_gate.")] = None,
    timespan: Annotated[
        float | None, typer.Option(help="Of a CfC of ncps: the time between two steps that it was given, if any.")
    ] = None,
    input_limits: Annotated[
        str | None,
        typer.Option(
            help="Lowest and highest value of each input, for fixed point: '-1:1,-0.01:0.01', or one pair for all."
        ),
    ] = None,
    output_limits: Annotated[
        str | None, typer.Option(help="Limits that outputs are held to, alike: '-1:1'; not part of the proof.")
    ] = None,
    input_names: Annotated[
        str | None, typer.Option(help="Names of the inputs with commas, units in brackets: 'pole angle \\[rad],speed'.")
    ] = None,
    output_names: Annotated[str | None, typer.Option(help="Names of the outputs, alike.")] = None,
    dtype: Annotated[
        str, typer.Option(help="Of the controller: float32, or float64 for weights of float64.")
    ] = "float32",
) -> None:
    """Take over a network that others trained, after a proof that both give the same outputs."""
    io.check_writable("out", out_file, ".npz")
    pairs = {"input_limits": input_limits, "output_limits": output_limits}
    limits = {name: _pairs(name, text) for name, text in pairs.items() if text is not None}
    functions = {"activation": activation, "dense_activation": dense_activation}
    functions |= {"output_activation": None if output_activation.lower() == "identity" else output_activation}
    controller, proof = _imported(file, {"dt_s": dt_s, "dtype": dtype}, functions, {"mode": mode, "timespan": timespan})
    spec = _named(controller.spec, limits, {"input_names": input_names, "output_names": output_names})
    notes = controller.meta | {"imported_from": file.name}
    Controller(spec, controller.theta, meta=notes).save(out_file)
    lines = [f"{spec.summary()}, {controller.layout.size} parameters, {1 / spec.dt_s:.6g} Hz", f"equal within {proof}"]
    lines += [f"look at it: neuroctl info {shlex.quote(str(out_file))}"]
    if spec.input_limits is None:
        lines += ["for fixed point it needs ranges of inputs: import --input-limits, or export --calibration"]
    for line in lines:
        out.print(line, highlight=False, soft_wrap=True)


def _pairs(name: str, text: str) -> Limits:
    """Return limits of a text such as ``-1:1,-0.01:0.01``.

    Raises:
        SpecError: it has another form.

    """
    try:
        return tuple((float(low), float(high)) for low, high in (pair.split(":") for pair in text.split(",")))
    except ValueError:
        allowed = "lowest and highest of each, such as -1:1,-0.01:0.01, or one pair for all"
        raise SpecError(f"{name}: {shown(text)}; allowed: {allowed}") from None


def _named(spec: Spec, limits: Mapping[str, Limits], names: Mapping[str, str | None]) -> Spec:
    """Return a spec with limits, of which one pair counts for all, and names.

    Raises:
        SpecError: their number or values are not allowed.
        InteropError: the network has limits of its own, and these are others.

    """
    fields: dict[str, Any] = {
        name: tuple(part.strip() for part in text.split(",")) for name, text in names.items() if text
    }
    counts = {"input_limits": spec.inputs, "output_limits": spec.outputs}
    for name, pairs in limits.items():
        fields[name] = pairs * counts[name] if len(pairs) == 1 else pairs
        own = getattr(spec, name)
        if own is not None and fields[name] != own:
            raise InteropError(f"{name}: {shown(fields[name])}; allowed: {shown(own)}, which the file has")
    return replace(spec, **fields)


def _imported(
    file: Path, common: Mapping[str, Any], functions: dict[str, str | None], own: dict[str, Any]
) -> tuple[Controller, str]:
    """Return the controller of a file, and within what it is equal to what.

    Args:
        file: the file.
        common: ``dt_s`` and ``dtype``.
        functions: ``activation``, ``dense_activation`` and ``output_activation``; None where no option names one.
        own: options that CfCs alone have.

    """
    from neuroctl import interop
    from neuroctl.interop import torch_import
    from neuroctl.interop.onnx_import import import_onnx
    from neuroctl.interop.proof import STEPS, TOLERANCE

    if file.suffix not in (*_TORCH, *_OTHERS) or file.is_dir():
        kinds = f"{', '.join(_TORCH)} (torch, ncps), .onnx, .h5, .hdf5 (RLtools)"
        what = f"{shown(str(file))}, a folder" if file.is_dir() else shown(str(file))
        raise InteropError(f"file: {what}; allowed: a file that ends with {kinds}")
    torch_functions: dict[str, Any] = functions | {"output_activation": functions["output_activation"] or "identity"}
    by = f"{TOLERANCE:g} to"
    over = f"over 3 random sequences of {STEPS:,} steps"
    if file.suffix in _TORCH and torch_import.is_cfc_file(file):
        if (dense := torch_functions.pop("dense_activation")) is not None:
            nothing = "nothing; with dense layers around it the module, in Python by from_ncps"
            raise InteropError(f"dense_activation: {dense!r}; allowed for a CfC's weights: {nothing}")
        timespan = 1.0 if own["timespan"] is None else own["timespan"]
        controller = interop.from_ncps(file, **common, mode=own["mode"], timespan=timespan, **torch_functions)
        named = _functions(controller.spec, {"mode": own["mode"]}, functions, {"timespan": f"{timespan:g}"})
        return controller, f"{by} ncps' equations with these weights, as named: {named}; {over}"
    for name, number in own.items():
        if number is not None:
            raise InteropError(f"{name}: {number!r}; allowed for others than a CfC of ncps: nothing")
    if file.suffix in _TORCH:
        controller = interop.from_torch(file, **common, **torch_functions)
        named = _functions(controller.spec, {}, functions, {})
        told = f", as named: {named}" if named else ""
        return controller, f"{by} torch's own layers with these weights{told}; {over}"
    for name, value in functions.items():
        if value is not None:
            raise InteropError(f"{name}: {value!r}; allowed with {file.suffix}, which has its own: nothing")
    if file.suffix == ".onnx":
        controller, steps = import_onnx(file, **common)
        return controller, f"{by} ONNX Runtime over 3 random sequences of {steps:,} steps"
    rltools: Callable[..., Controller] = interop.from_rltools
    return rltools(file, **common), f"{by} RLtools on the example in the file"


def _functions(spec: Spec, first: Mapping[str, Any], named: Mapping[str, str | None], last: Mapping[str, Any]) -> str:
    """Say which functions a network has that its file does not tell; of the outputs' also none."""
    from neuroctl.interop.weights import function_name

    parts = dict(first)
    if spec.cell == "elman" or spec.backbone:
        parts["activation"] = function_name(named["activation"])
    if spec.encoder or spec.head:
        parts["dense_activation"] = spec.dense_activation
    if spec.readout == "affine":
        parts["output_activation"] = spec.output_activation
    return ", ".join(f"{name} {value}" for name, value in (parts | dict(last)).items())
