"""The command that takes over networks that others trained."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
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
            help="A torch state dict (.pt or .pth, of which weights alone are read, or .safetensors), or an "
            "RLtools checkpoint (.h5)."
        ),
    ],
    out_file: Annotated[Path, typer.Option("--out", help="Controller file to write (.npz).")],
    dt_s: Annotated[float, typer.Option("--dt", help="Seconds between two steps.")],
    activation: Annotated[str | None, typer.Option(help="Of a plain RNN: tanh or relu.")] = None,
    output_activation: Annotated[
        str, typer.Option(help="Applied to the last linear layer: identity, tanh, logistic or relu.")
    ] = "identity",
    dense_activation: Annotated[
        str | None, typer.Option(help="Applied to all other linear layers: relu, tanh or logistic.")
    ] = None,
) -> None:
    """Take over a network that torch or RLtools trained, after a proof that both give the same outputs."""
    io.check_writable("out", out_file, ".npz")
    if file.suffix in (".h5", ".hdf5"):
        given = {"activation": activation, "dense_activation": dense_activation}
        given |= {} if output_activation == "identity" else {"output_activation": output_activation}
        _rltools(file, out_file, dt_s, given)
        return
    from neuroctl.interop import from_torch

    controller = from_torch(
        file, dt_s=dt_s, activation=activation, output_activation=output_activation, dense_activation=dense_activation
    )
    _save(controller, file, out_file, "torch within 1e-05 over 3 random sequences of 1,000 steps")


def _rltools(file: Path, out_file: Path, dt_s: float, given: Mapping[str, str | None]) -> None:
    from neuroctl.interop import from_rltools

    for name, value in given.items():
        if value is not None:
            raise InteropError(f"{name}: {value!r}; allowed with a checkpoint, which has its own: nothing")
    _save(from_rltools(file, dt_s=dt_s), file, out_file, "RLtools within 1e-05 on the example in the file")


def _save(controller: Controller, file: Path, out_file: Path, proof: str) -> None:
    controller.save(out_file, meta={"imported_from": file.name})
    out.print(f"{controller.spec.summary()}, {controller.layout.size} parameters", highlight=False, soft_wrap=True)
    out.print(f"equal to {proof}", highlight=False, soft_wrap=True)
    out.print(f"look at it: neuroctl info {shlex.quote(str(out_file))}", highlight=False, soft_wrap=True)
