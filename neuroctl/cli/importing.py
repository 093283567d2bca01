"""The command that takes over networks that others trained."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from neuroctl import io
from neuroctl.console import out


def import_network(
    file: Annotated[
        Path, typer.Argument(help="A torch state dict: .pt or .pth (weights alone are read) or .safetensors.")
    ],
    out_file: Annotated[Path, typer.Option("--out", help="Controller file to write (.npz).")],
    dt_s: Annotated[float, typer.Option("--dt", help="Seconds between two steps.")],
    activation: Annotated[str | None, typer.Option(help="Of a plain RNN: tanh or relu.")] = None,
    output_activation: Annotated[
        str, typer.Option(help="Applied to the linear layer: identity, tanh or logistic.")
    ] = "identity",
) -> None:
    """Take over a network that torch trained, after a proof that both give the same outputs."""
    from neuroctl.interop import from_torch

    io.check_writable("out", out_file, ".npz")
    controller = from_torch(file, dt_s=dt_s, activation=activation, output_activation=output_activation)
    controller.save(out_file, meta={"imported_from": file.name})
    out.print(f"{controller.spec.summary()}, {controller.layout.size} parameters", highlight=False, soft_wrap=True)
    out.print("equal to torch within 1e-05 over 3 random sequences of 1,000 steps", highlight=False, soft_wrap=True)
    out.print(f"look at it: neuroctl info {shlex.quote(str(out_file))}", highlight=False, soft_wrap=True)
