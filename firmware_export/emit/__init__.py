"""Pure functions from an integer controller to the text of its files."""

from __future__ import annotations

import functools
import math
import re
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from neuroctl import Alarm, __version__
from neuroctl.errors import ExportError, require
from neuroctl.format_fields import frac_bits_text
from neuroctl.io import canonical_json
from neuroctl.own_formats import OWN_FRAC_BITS
from neuroctl.quant import QuantController
from neuroctl.spec import Spec

from ..packages import Package
from ..targets import Target
from . import parts
from .cells import emit
from .examples import example_values, selftest_bytes
from .parts import CellC, Field, ParameterStorage
from .signals import signal_values
from .text import rows
from .tunable import link_values, tunable_c
from .vectors import vectors

_HERE: Final = Path(__file__).parent
_RUNTIME: Final = _HERE.parent / "runtime"
_MAX_CLOCK_ERROR: Final = 1e-3
_MIN_TIMEOUT_US: Final = 100_000
_TIMEOUT_STEPS: Final = 5
_MAX_TIMEOUT_US: Final = (1 << 31) - 1
_CELL_NAMES: Final = {"ctrnn": "CTRNN", "gru": "GRU", "indrnn": "IndRNN", "cfc": "CfC"}
_EQUATIONS: Final = {
    "ctrnn": "y += alpha (W s + W_in u - y), s = logistic(g (y + b))",
    "indrnn": "layer by layer h = f(W_in x + u h + bias)",
    "elman": "s = f(W_in u + U s + bias)",
    "jordan": "s = f(W_in u + U context + bias), context = decay * context + out",
    "gru": "h = c + z (h - c), c = tanh(W_in u + bias + r (U h + d))",
    "cfc": "h = f + t (g - f), f, g, t of W_in u + U h + bias",
    "hopfield": "show the inputs' signs, settle s = sign(W s - bias)",
}


def sources(q: QuantController, name: str, target: Target, package: Package) -> dict[str, str]:
    """Return the texts of an export's files by their places. Equal controllers give equal texts.

    Args:
        q: a controller that may be stepped.
        name: prefix of every identifier, already checked.
        target: the core that the comments name.
        package: the package.

    Raises:
        ExportError: a number does not fit its C type, or the time step is no multiple of a microsecond.
        BackendUnavailable: the template engine is not installed.

    """
    cell, tunable = cell_c(q, name), tunable_c(q, name)
    _check_clock(q.spec.dt_s)
    context = _common(q, name, target) | _shared(q, cell) | _clips(q, name) | _counts(q) | cell.values
    context |= link_values(q, cell.fields, tunable.params) | example_values(q, cell)
    context |= {"split": bool(package.source), "api": "" if package.source else "static inline "}
    context |= {"package_text": package.text.format(name=name), "at": ParameterStorage(name).at, "tables": cell.tables}
    context |= _core_text(context, cell)
    in_ram = context | tunable.values | {"at": ParameterStorage(name, tunable=True).at, "tables": tunable.tables}
    in_ram |= _core_text(in_ram, tunable)
    templates = {package.header: "header.h.j2"} | package.files
    if package.source:
        templates[package.source] = "source.c.j2"
    return {
        place.format(name=name): _text(file, in_ram if file == "tunable.h.j2" else context)
        for place, file in templates.items()
    }


def _core_text(context: dict[str, Any], cell: CellC) -> dict[str, str]:
    """Return the C of the network between dense layers, if there are such."""
    if "core" not in cell.values:
        return {}
    return {"core_text": _text(f"{cell.values['core'].cell}.j2", context | cell.values["core_values"])}


def _text(file: str, context: dict[str, Any]) -> str:
    """Return the text of a template, or of a file of the runtime, whose name begins with nc_."""
    if file.startswith("nc_"):
        return (_RUNTIME / file).read_text(encoding="utf-8")
    return _tidy(_environment().get_template(file).render(context))


def alarm_source(alarm: Alarm, name: str) -> str:
    """Return the text of the header of an alarm, which includes that of its controller."""
    q = alarm.controller
    settings = {key: getattr(alarm, key) for key in ("input", "output", "smooth", "hold", "warm_up", "threshold_q")}
    measured = f"{name}_in_clip({alarm.input}, in[{alarm.input}])" if clips_inputs(q) else f"in[{alarm.input}]"
    in_factor, out_factor = alarm.factors
    own = {"name": name, "NAME": name.upper(), "version": __version__, "crc": f"0x{q.model_crc32:08X}"}
    own |= {"threshold": f"{alarm.threshold:.6g}", "frac_bits": _macro(alarm.frac_bits), "measured": measured}
    settings |= {"in_factor": in_factor, "out_factor": out_factor}
    return _text("alarm.h.j2", own | settings | _frac_bits(q, name))


def cell_c(q: QuantController, name: str) -> CellC:
    """Return the C of the controller's cell: its state, tables and the values of its template.

    Raises:
        ExportError: a number does not fit its C type.

    """
    return emit(q, ParameterStorage(name))


def layout_crc32(q: QuantController, fields: list[Field]) -> int:
    """Return the CRC-32 in a state: over the controller and the layout of the state."""
    members = [[member.name, member.storage, member.words] for member in fields]
    return zlib.crc32(canonical_json({"model_crc32": q.model_crc32, "state": members}))


def _tidy(text: str) -> str:
    """Merge consecutive blank lines, and remove those at the start and end of a block."""
    text = re.sub(r"\n{3,}", "\n\n", text)
    return re.sub(r"\n\n( *\})", r"\n\1", re.sub(r"\{\n\n", "{\n", text))


@functools.cache
def _environment() -> Any:
    jinja2 = require("jinja2", "export")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["row_of"] = parts.row_of  # macros see globals alone
    return environment


def _shared(q: QuantController, cell: CellC) -> dict[str, Any]:
    return {
        "fields": cell.fields,
        "vectors": vectors(q),
        "layout_crc": f"0x{layout_crc32(q, cell.fields):08X}",
        "cell_template": "layered.j2" if q.spec.dense else f"{q.spec.cell}.j2",
        "core": None,
    }


def clips_inputs(q: QuantController) -> bool:
    """Whether a step has to clip inputs: not if their limits are those of int16."""
    lows, highs = q.input_range
    return bool((lows > q.formats["u"].low).any() or (highs < q.formats["u"].high).any())


def _clips(q: QuantController, name: str) -> dict[str, Any]:
    """Return the limits that a step clips its inputs to."""
    size, clips = f"{name.upper()}_INPUTS", clips_inputs(q)
    low, high = (
        parts.column(name, suffix, size, parts.ints(limits))
        for suffix, limits in zip(("in_low", "in_high"), q.input_range, strict=True)
    )
    return {
        "clips": clips,
        "step_in": "clipped" if clips else "in",
        "clip_low": low.at("i"),
        "clip_high": high.at("i"),
        "clip_tables": [entry.definition for entry in (low, high) if not entry.uniform],
        "clip_is_uniform": low.uniform and high.uniform,
    }


def _counts(q: QuantController) -> dict[str, Any]:
    """Return lows and ranges of inputs and outputs as integers, for raw counts; none without declared limits."""
    inputs, outputs = q.spec.input_limits, q.spec.output_limits
    low, high = (q.quantize_input(np.array(inputs).T) if inputs else np.zeros((2, 0), int)).astype(int)
    below, above = (q.formats["out"].quantize(np.array(outputs).T) if outputs else np.zeros((2, 0), int)).astype(int)
    return {
        "in_lows": [int(v) for v in low],
        "in_ranges": [int(v) for v in high - low],
        "out_lows": [int(v) for v in below],
        "out_ranges": [max(1, int(v)) for v in above - below],
    }


def _common(q: QuantController, name: str, target: Target) -> dict[str, Any]:
    spec, formats = q.spec, q.formats
    for block in ("u", "out"):
        if formats[block].bits != 16:
            raise ExportError(f"{block}: {formats[block].bits} bits; allowed in C: 16")
    bits = sorted({form.bits for block, form in formats.items() if block.startswith(("W", "U"))})
    return {
        "name": name,
        "NAME": name.upper(),
        "version": __version__,
        "target": target,
        "cell": _CELL_NAMES.get(spec.cell, spec.cell.capitalize()),
        "inputs": spec.inputs,
        "neurons": spec.neurons,
        "dense_text": _layers_text(spec)
        + "".join(
            f" {name} {'-'.join(map(str, getattr(spec, name)))},"
            for name in ("encoder", "backbone", "head")
            if getattr(spec, name)
        ),
        "outputs": spec.outputs,
        "affine": spec.readout == "affine",
        "in_kind": "scaled" if spec.scale_inputs else "physical",
        **_frac_bits(q, name),
        "weight_bits_text": " and ".join(map(str, bits)),
        "dt_text": f"{spec.dt_s:.9g}",
        "dt_us": dt_us(spec.dt_s),
        "timeout_us": min(max(_MIN_TIMEOUT_US, _TIMEOUT_STEPS * dt_us(spec.dt_s)), _MAX_TIMEOUT_US),
        "crc": f"0x{q.model_crc32:08X}",
        **signal_values(q, name),
        "format_rows": [f"{block:8} {form.bits:2}, {frac_bits_text(form)}" for block, form in sorted(formats.items())],
        "bound_rows": [f"{block:22} {low:11} to {high:11}" for block, (low, high) in q.bounds.items()],
        "rows": rows,
        "step_comment": _step_comment(q, name),
        "prototypes": _prototypes(q, name),
    } | _runtime(packed=bits[0] in parts.PACKED_BITS)


def _frac_bits(q: QuantController, name: str) -> dict[str, Any]:
    """Return the fractional bits of inputs and outputs: ``frac`` is what C calls them, of input or output i.

    Raises:
        ExportError: they do not fit the C type of those that each input or output has of its own.

    """
    values: dict[str, Any] = {}
    for kind, block in (("in", "u"), ("out", "out")):
        form, macro = q.formats[block], f"{name.upper()}_{kind.upper()}_FRAC_BITS"
        entries = form.entry_frac_bits.tolist() if form.extra else []
        if entries and not -128 < min(entries) <= max(entries) < 128:
            raise ExportError(f"formats: {block} has {min(entries)} to {max(entries)} bits; allowed in C: -127 to 127")
        values |= {
            f"{kind}_frac_bits": _macro(form.frac_bits),
            f"{kind}_own_frac_bits": entries,
            f"{kind}_frac": f"{macro}[i]" if entries else macro,
            f"{kind}_frac_text": f"{macro}[i]" if entries else _macro(form.frac_bits),
            f"{kind}_frac_on_wire": _macro(OWN_FRAC_BITS) if entries else macro,
        }
    return values


def _step_comment(q: QuantController, name: str) -> str:
    frac = _frac_bits(q, name)
    reads = {"affine": "out = W_out s + b_out", "identity": "out = s", "last": "out = the last neurons"}
    out = reads[str(q.spec.readout)].replace("s +", "z +" if q.spec.head else "s +")
    if q.spec.output_activation != "identity":
        out = out.replace("= ", f"= {q.spec.output_activation}(") + ")"
    saturate = "Inputs and outputs saturate" if clips_inputs(q) else "Outputs saturate"
    return "\n".join(
        [
            f"/** Advance one time step of {q.spec.dt_s:.9g} s: {_equation(q.spec)},",
            f" *  {out}. Any input is safe: no overflow, no fault. {saturate} at their limits.",
            *_dense_lines(q),
            " * @param s   state; read and written",
            f" * @param in  inputs, {frac['in_frac']} fractional bits; read",
            f" * @param out outputs, {frac['out_frac']} fractional bits; written; may be the same array as in */",
        ]
    )


def _equation(spec: Spec) -> str:
    equation = _EQUATIONS[spec.cell]
    return f"layer by layer {equation}" if _layers_text(spec) else equation


def _layers_text(spec: Spec) -> str:
    """Return how many layers there are, of a cell of which a comment would not say so by itself."""
    return f" {spec.layers} layers," if spec.layers > 1 and spec.cell != "indrnn" else ""


def _dense_lines(q: QuantController) -> list[str]:
    """Return what a step's comment says of dense layers."""
    spec, said = q.spec, []
    if spec.encoder:
        said.append(f"u is what the encoder of {'-'.join(map(str, spec.encoder))} gives")
    if spec.head:
        said.append(f"z what the head of {'-'.join(map(str, spec.head))} gives")
    return [f" *  {', '.join(said)}; both of {spec.dense_activation}."] if said else []


def _prototypes(q: QuantController, name: str) -> list[str]:
    big, state, frac = name.upper(), f"{name}_state_t *s", _frac_bits(q, name)
    lines = [
        f"void {name}_reset({state});   /**< Set the whole state to its start. */",
        f"void {name}_init({state});    /**< The same; call it before the first step. */",
        f"/** Advance one time step; fractional bits: inputs {frac['in_frac']}, outputs {frac['out_frac']}. */",
        f"void {name}_step({state}, const {name}_in_t in[{big}_INPUTS], {name}_out_t out[{big}_OUTPUTS]);",
        "/** Copy a state so that it may be kept over a power cut, with a CRC-32, for restore. */",
        f"void {name}_save({name}_state_t *saved, const {state});",
        "/** Go on from a saved state; returns 1, and does nothing, if it is damaged or of another controller. */",
        f"int {name}_restore({state}, const {name}_state_t *saved);",
        "/** Compare recorded and extreme inputs' outputs with what the simulator computed; 0: passed.",
        f" *  Takes {selftest_bytes(q, cell_c(q, name))} bytes of stack, and what calls take. */",
        f"int {name}_selftest(void);",
    ]
    if clips_inputs(q):
        lines += [
            f"/** A number in the inputs' format as input i: clipped to its limits, as {name}_step does by itself. */",
            f"{name}_in_t {name}_in_clip(int i, int32_t value);",
        ]
    if q.spec.input_limits:
        lines += [
            "/** A converter's count as input i: 0 is its lower limit, 2^bits and above its upper one. */",
            f"{name}_in_t {name}_in_from_counts(int i, uint16_t count, unsigned bits);",
        ]
    if q.spec.output_limits:
        lines += [
            "/** Output i as a timer's count: its lower limit is 0, its upper one top. */",
            f"uint16_t {name}_out_to_counts(int i, {name}_out_t out, uint16_t top);",
        ]
    return lines


def _runtime(*, packed: bool) -> dict[str, Any]:
    """Return the runtime's text, with what unpacks weights if there are packed ones, and the versions of its parts."""
    text, unpacking, link = (
        (_RUNTIME / file).read_text(encoding="utf-8") for file in ("nc_fixed.h", "nc_packed.h", "nc_link.h")
    )
    return {
        "runtime": f"{text}\n{unpacking}" if packed else text,
        "packed_version": re.findall(r"#define NC_PACKED_VERSION (\d+)", unpacking)[0] if packed else "",
        "runtime_version": re.findall(r"#define NC_FIXED_VERSION (\d+)", text)[0],
        "link_version": re.findall(r"#define NC_LINK_VERSION (\d+)", link)[0],
    }


def dt_us(dt_s: float) -> int:
    """Return the time step in microseconds, rounded.

    Raises:
        ExportError: it is not from 1 to 2^32 - 1.

    """
    microseconds = math.floor(dt_s * 1e6 + 0.5)
    if not 1 <= microseconds < 1 << 32:
        raise ExportError(f"dt_s: {dt_s:g}; allowed in C: 1e-06 to 4294 s")
    return microseconds


def _check_clock(dt_s: float) -> None:
    """Refuse a time step that a clock of microseconds cannot give.

    Raises:
        ExportError: DT_US is off by more than 0.1 %.

    """
    microseconds = dt_us(dt_s)
    error = abs(microseconds / (dt_s * 1e6) - 1)
    if error > _MAX_CLOCK_ERROR:
        raise ExportError(
            f"dt_s: {dt_s:.9g} s, which DT_US, {microseconds} us, misses by {100 * error:.2g} %; allowed in C: "
            f"within {100 * _MAX_CLOCK_ERROR:g} % of an integer number of microseconds"
        )


def _macro(value: int) -> str:
    return f"({value})" if value < 0 else str(value)
