"""Pure functions from an integer controller to the text of its files."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np

from firmware_export.emit import ctrnn
from firmware_export.emit.text import rows
from firmware_export.emit.vectors import vectors
from firmware_export.targets import Target
from neuroctl import __version__
from neuroctl.errors import ExportError, require
from neuroctl.quant import QuantController

_HERE: Final = Path(__file__).parent
_RUNTIME: Final = _HERE.parent / "runtime" / "nc_fixed.h"


class Emitter(NamedTuple):
    """How one cell becomes C: its template, and what the template needs."""

    template: str
    context: Callable[[QuantController, str], dict[str, Any]]


EMITTERS: Final = MappingProxyType({"ctrnn": Emitter("ctrnn.j2", ctrnn.context)})
"""One line a cell."""


def sources(q: QuantController, name: str, target: Target) -> dict[str, str]:
    """Return the text of each source file by its name. Equal controllers give equal text.

    Args:
        q: a controller of the caller's own; it is stepped.
        name: prefix of every identifier, already checked.
        target: the core that the comments name.

    Raises:
        ExportError: no C is known for its cell, or a number does not fit its C type.
        BackendUnavailable: the template engine is not installed.

    """
    emitter = EMITTERS.get(q.spec.cell)
    if emitter is None:
        raise ExportError(f"cell: {q.spec.cell!r}; allowed in C: {', '.join(EMITTERS)}")
    context = _common(q, name, target) | emitter.context(q, name) | {"cell_template": emitter.template}
    render = _environment().get_template
    return {
        f"{name}.h": render("header.h.j2").render(context),
        f"{name}_example.c": render("example.c.j2").render(context),
    }


@functools.cache
def _environment() -> Any:
    jinja2 = require("jinja2", "export")
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _common(q: QuantController, name: str, target: Target) -> dict[str, Any]:
    spec, formats = q.spec, q.formats
    for block in ("u", "out"):
        if formats[block].bits != 16:
            raise ExportError(f"{block}: {formats[block].bits} bits; allowed in C: 16")
    return {
        "name": name,
        "NAME": name.upper(),
        "version": __version__,
        "target": target,
        "cell": spec.cell.upper(),
        "inputs": spec.inputs,
        "neurons": spec.neurons,
        "outputs": spec.outputs,
        "affine": spec.readout == "affine",
        "in_kind": "scaled" if spec.scale_inputs else "physical",
        "in_frac_bits": _macro(formats["u"].frac_bits),
        "out_frac_bits": _macro(formats["out"].frac_bits),
        "y_frac_bits": formats["y"].frac_bits,
        "weight_bits_text": formats["W"].bits,
        "dt_text": f"{spec.dt_s:.9g}",
        "dt_us": dt_us(spec.dt_s),
        "crc": f"0x{q.model_crc32:08X}",
        "io_rows": _io_rows(q),
        "format_rows": [f"{block:6} {form.bits:2}, {form.frac_bits}" for block, form in sorted(formats.items())],
        "bound_rows": _bound_rows(q),
        "vectors": vectors(q),
        "rows": rows,
    } | _runtime()


def _runtime() -> dict[str, str]:
    text = _RUNTIME.read_text(encoding="utf-8")
    return {"runtime": text, "runtime_version": re.findall(r"#define NC_FIXED_VERSION (\d+)", text)[0]}


def dt_us(dt_s: float) -> int:
    """Return the time step in whole microseconds.

    Raises:
        ExportError: it is none of 1 to 2^32 - 1.

    """
    microseconds = math.floor(dt_s * 1e6 + 0.5)
    if not 1 <= microseconds < 1 << 32:
        raise ExportError(f"dt_s: {dt_s:g}; allowed in C: 1e-06 to 4294 s")
    return microseconds


def _macro(value: int) -> str:
    return f"({value})" if value < 0 else str(value)


def _io_rows(q: QuantController) -> list[str]:
    parts = (
        ("in", q.spec.inputs, q.spec.input_limits, q.formats["u"], q.quantize_input),
        ("out", q.spec.outputs, q.spec.output_limits, q.formats["out"], q.formats["out"].quantize),
    )
    lines = []
    for name, count, limits, form, to_raw in parts:
        pairs = limits or ((form.low * form.lsb, form.high * form.lsb),) * count
        raw = to_raw(np.array(pairs).T)
        for index, (low, high) in enumerate(pairs):
            lines.append(f"{name}[{index}]: {low:g} to {high:g}, as integers {raw[0, index]} to {raw[1, index]}")
    return lines


def _bound_rows(q: QuantController) -> list[str]:
    return [f"{name:18} {low:11} to {high:11}" for name, (low, high) in q.bounds.items()]
