"""The command that takes over networks that others trained."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

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
) -> None:
    """Take over a network that others trained, after a proof that both give the same outputs."""
    io.check_writable("out", out_file, ".npz")
    from neuroctl import interop

    taking: dict[str, Callable[..., Controller]] = {
        ".h5": interop.from_rltools, ".hdf5": interop.from_rltools, ".onnx": interop.from_onnx,
    }  # fmt: skip
    functions = {"activation": activation, "dense_activation": dense_activation}
    functions |= {"output_activation": None if output_activation == "identity" else output_activation}
    own = {"mode": mode, "timespan": timespan}
    if file.suffix not in taking and interop.is_cfc_file(file):
        if dense_activation is not None:
            raise InteropError(f"dense_activation: {dense_activation!r}; allowed for a CfC's weights: nothing")
        controller = interop.from_ncps(
            file, dt_s=dt_s, mode=mode, activation=activation, output_activation=output_activation,
            timespan=1.0 if timespan is None else timespan,
        )  # fmt: skip
        _save(controller, file, out_file, "ncps' equations within 1e-05 over 3 random sequences of 1,000 steps")
        return
    for name, number in own.items():
        if number is not None:
            raise InteropError(f"{name}: {number!r}; allowed for others than a CfC of ncps: nothing")
    if file.suffix not in taking:
        controller = interop.from_torch(
            file, dt_s=dt_s, activation=activation, output_activation=output_activation,
            dense_activation=dense_activation,
        )  # fmt: skip
        _save(controller, file, out_file, "torch within 1e-05 over 3 random sequences of 1,000 steps")
        return
    for name, value in functions.items():
        if value is not None:
            raise InteropError(f"{name}: {value!r}; allowed with {file.suffix}, which has its own: nothing")
    proof = {".onnx": "ONNX Runtime within 1e-05 over 3 random sequences"}
    proven = proof.get(file.suffix, "RLtools within 1e-05 on the example in the file")
    _save(taking[file.suffix](file, dt_s=dt_s), file, out_file, proven)


def _save(controller: Controller, file: Path, out_file: Path, proof: str) -> None:
    controller.save(out_file, meta={"imported_from": file.name})
    out.print(f"{controller.spec.summary()}, {controller.layout.size} parameters", highlight=False, soft_wrap=True)
    out.print(f"equal to {proof}", highlight=False, soft_wrap=True)
    out.print(f"look at it: neuroctl info {shlex.quote(str(out_file))}", highlight=False, soft_wrap=True)
