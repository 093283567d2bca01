"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from neuroctl.errors import SpecError, require
from neuroctl.io import check_writable

Seed = Annotated[int, typer.Option(help="Seed of everything random; same seed, same machine: same bits.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; progress goes to stderr.")]
Workers = Annotated[
    int,
    typer.Option(
        help="Worker processes; 0 = one per core. Results do not depend on it.", min=0, rich_help_panel="Running"
    ),
]
File = Annotated[Path, typer.Argument(help="Controller file (.npz).")]
WeightBits = Annotated[
    int, typer.Option(help="Storage of the weights in fixed point: 2, 3, 4, 8 or 16.", rich_help_panel="Fixed point")
]
StateBits = Annotated[
    int,
    typer.Option(
        help="Storage of slow states in fixed point: 16 or 32. 16 saves RAM for IndRNNs, GRUs and Jordan networks; a "
        "CTRNN then keeps a residual, which takes as much.",
        rich_help_panel="Fixed point",
    ),
]
AllowCoarse = Annotated[
    bool,
    typer.Option(
        "--allow-coarse",
        help="Accept limits so narrow beside others that fixed point has fewer than 16 steps for them.",
        rich_help_panel="Fixed point",
    ),
]
TaskName = Annotated[
    str,
    typer.Option("--task", help="Task to run in. Default: the one that the file names, if `neuroctl tasks` lists it."),
]


_NETWORK: Final = "Network"
Layers = Annotated[
    int, typer.Option(help="Number of layers, of an Elman network, IndRNN or GRU.", rich_help_panel=_NETWORK)
]
Backbone = Annotated[
    str | None, typer.Option(help="Sizes of the layers inside a cfc, such as 32.", rich_help_panel=_NETWORK)
]
Mode = Annotated[str, typer.Option(help="Of a cfc: default or no_gate.", rich_help_panel=_NETWORK)]
Encoder = Annotated[
    str | None,
    typer.Option(help="Sizes of dense layers before the network, such as 32,16.", rich_help_panel=_NETWORK),
]
Head = Annotated[str | None, typer.Option(help="Sizes of dense layers behind it.", rich_help_panel=_NETWORK)]
DenseActivation = Annotated[
    str, typer.Option(help="Of these layers: relu, tanh or logistic.", rich_help_panel=_NETWORK)
]
InitialState = Annotated[str, typer.Option(help="State after a reset: zeros or learned.", rich_help_panel=_NETWORK)]
NETWORK_DEFAULTS: Final[tuple[Any, ...]] = ([], "relu", "zeros", "default", 1)
"""Values that fields of a network have where no option names another."""


def network_fields(**options: Any) -> dict[str, Any]:
    """Return the fields of a spec that options of a network name; sizes of layers, such as ``"32,16"``, as lists.

    Raises:
        SpecError: a text is no list of sizes.

    """
    return {name: _sizes(name, v) if name in ("encoder", "head", "backbone") else v for name, v in options.items()}


def _sizes(name: str, sizes: str | list[int] | None) -> list[int]:
    if sizes is None or isinstance(sizes, list):
        return sizes or []
    try:
        return [int(size) for size in sizes.split(",")]
    except ValueError:
        raise SpecError(f"{name}: {sizes!r}; allowed: sizes of layers, such as 32,16") from None


def bits_of(weight_bits: int, state_bits: int, fixed_point: bool) -> tuple[int, int] | None:
    """Return the bits of weights and state in fixed point; None for floats, for which no bits may be named.

    Raises:
        SpecError: bits are named, and the controller runs in floats.

    """
    if fixed_point:
        return weight_bits, state_bits
    for name, bits, default in (("weight_bits", weight_bits, 16), ("state_bits", state_bits, 32)):
        if bits != default:
            raise SpecError(f"{name}: {bits}; allowed without --quantized: {default}, as floats have no such bits")
    return None


def check_pictures(**paths: Path | None) -> None:
    """Refuse pictures that could not be drawn or written, before the work for them.

    Args:
        paths: paths by option: ``gif`` a GIF, all others PNGs; None for no picture.

    Raises:
        BackendUnavailable: the package that draws them is missing.
        FileFormatError: the name has another suffix, or the file cannot be written.

    """
    for name, path in paths.items():
        if path is not None:
            require("PIL.Image" if name == "gif" else "matplotlib.figure", "viz")
            check_writable(name, path, ".gif" if name == "gif" else ".png")
