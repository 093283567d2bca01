"""Inputs and outputs in comments, and by their names as constants of C."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from neuroctl.quant import QuantController
from neuroctl.signal_names import identifier

_INNER: Final = re.compile(r"_(?:in|out)(?=_|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Signal:
    """An input or output with a name.

    Args:
        index: its place.
        c_name: its constant in C.
        text: its name with its unit.

    """

    index: int
    c_name: str
    text: str


def signal_values(q: QuantController, name: str) -> dict[str, Any]:
    """Return the values for templates.

    ``io_rows`` are lines of comment; ``in_signals`` and ``out_signals`` the inputs and outputs by name;
    ``could_name_macros`` the controllers whose inputs or outputs could be called as a macro of this one: of ``pilot``
    one called neurons is ``PILOT_IN_NEURONS``, the number of neurons of ``pilot_in``.
    """
    spec, prefix = q.spec, name.upper()
    return {
        "io_rows": _io_rows(q),
        "in_signals": _signals(spec.input_names, f"{prefix}_IN"),
        "out_signals": _signals(spec.output_names, f"{prefix}_OUT"),
        "could_name_macros": [name[: inner.start()] for inner in _INNER.finditer(name) if inner.start()],
    }


def _signals(names: tuple[str, ...], prefix: str) -> list[Signal]:
    return [Signal(index, f"{prefix}_{identifier(name)}", name) for index, name in enumerate(names)]


def _io_rows(q: QuantController) -> list[str]:
    """Return a line for each input and output: its limits, as integers too, and its name."""
    spec, out = q.spec, q.formats["out"]
    parts = (
        ("in", spec.input_names, spec.inputs, spec.input_limits, q.formats["u"], q.quantize_input),
        ("out", spec.output_names, spec.outputs, spec.output_limits, out, out.quantize),
    )
    lines = []
    for kind, names, count, limits, form, to_raw in parts:
        ends = (form.dequantize(np.full(count, end)).tolist() for end in (form.low, form.high))
        pairs = limits or tuple(zip(*ends, strict=True))
        raw = to_raw(np.array(pairs).T)
        for index, (low, high) in enumerate(pairs):
            signal = f"{kind}[{index}], {names[index]}" if names else f"{kind}[{index}]"
            lines.append(f"{signal}: {low:g} to {high:g}, as integers {raw[0, index]} to {raw[1, index]}")
    return lines
