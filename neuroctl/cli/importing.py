"""The command that takes over networks that others trained."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from neuroctl import io
from neuroctl.console import out
from neuroctl.controller import Controller
from neuroctl.errors import InteropError


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
    input_names: Annotated[
        str | None, typer.Option(help="Names of the inputs with commas, units in brackets: 'pole angle [rad],speed'.")
    ] = None,
    output_names: Annotated[str | None, typer.Option(help="Names of the outputs, alike.")] = None,
) -> None:
    """Take over a network that others trained, after a proof that both give the same outputs."""
    io.check_writable("out", out_file, ".npz")
    functions = {"activation": activation, "dense_activation": dense_activation}
    functions |= {"output_activation": None if output_activation == "identity" else output_activation}
    controller, proof = _imported(file, dt_s, functions, {"mode": mode, "timespan": timespan})
    names = {"input_names": input_names, "output_names": output_names}
    fields: dict[str, Any] = {
        name: tuple(part.strip() for part in text.split(",")) for name, text in names.items() if text
    }
    spec = replace(controller.spec, **fields)
    notes = controller.meta | {"imported_from": file.name}
    Controller(spec, controller.theta, meta=notes).save(out_file)
    out.print(f"{spec.summary()}, {controller.layout.size} parameters", highlight=False, soft_wrap=True)
    out.print(f"equal to {proof}", highlight=False, soft_wrap=True)
    out.print(f"look at it: neuroctl info {shlex.quote(str(out_file))}", highlight=False, soft_wrap=True)


def _imported(file: Path, dt_s: float, functions: dict[str, str | None], own: dict[str, Any]) -> tuple[Controller, str]:
    """Return the controller of a file, and what it is equal to.

    Args:
        file: the file.
        dt_s: time between two steps, in seconds.
        functions: ``activation``, ``dense_activation`` and ``output_activation``; None where no option names one.
        own: options that CfCs alone have.

    """
    from neuroctl import interop
    from neuroctl.interop import torch_import

    taking: dict[str, Callable[..., Controller]] = {
        ".h5": interop.from_rltools, ".hdf5": interop.from_rltools, ".onnx": interop.from_onnx,
    }  # fmt: skip
    torch_functions: dict[str, Any] = functions | {"output_activation": functions["output_activation"] or "identity"}
    if file.suffix not in taking and torch_import.is_cfc_file(file):
        if (dense := torch_functions.pop("dense_activation")) is not None:
            raise InteropError(f"dense_activation: {dense!r}; allowed for a CfC's weights: nothing")
        timespan = 1.0 if own["timespan"] is None else own["timespan"]
        controller = interop.from_ncps(file, dt_s=dt_s, mode=own["mode"], timespan=timespan, **torch_functions)
        return controller, "ncps' equations within 1e-05 over 3 random sequences of 1,000 steps"
    for name, number in own.items():
        if number is not None:
            raise InteropError(f"{name}: {number!r}; allowed for others than a CfC of ncps: nothing")
    if file.suffix not in taking:
        controller = interop.from_torch(file, dt_s=dt_s, **torch_functions)
        return controller, "torch within 1e-05 over 3 random sequences of 1,000 steps"
    for name, value in functions.items():
        if value is not None:
            raise InteropError(f"{name}: {value!r}; allowed with {file.suffix}, which has its own: nothing")
    onnx = "ONNX Runtime within 1e-05 over 3 random sequences"
    proof = onnx if file.suffix == ".onnx" else "RLtools within 1e-05 on the example in the file"
    return taking[file.suffix](file, dt_s=dt_s), proof
