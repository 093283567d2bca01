"""The command that describes a controller's file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import neuroctl as nc
from neuroctl import io
from neuroctl.cli.options import File, Json
from neuroctl.console import emit, out, plain_table
from neuroctl.format_fields import formats_as_fields, frac_bits_text
from neuroctl.signal_names import SIGNAL_NAMES

_SIGNAL_FIELDS: Final = ("input_limits", "output_limits", *SIGNAL_NAMES)
"""Fields of a spec that have a table of their own."""


def info(file: File, as_json: Json = False) -> None:
    """Show the contents of a controller file, or of an alarm."""
    archive = io.read_archive(file)
    alarm = nc.Alarm.from_archive(archive, file) if archive.kind == "alarm" else None
    ctl = nc.load(file) if alarm is None else alarm.controller
    quant = isinstance(ctl, nc.QuantController)
    data: dict[str, Any] = {
        "file": str(file),
        "kind": archive.kind,
        "sha256": archive.sha256,
        "spec": ctl.spec.to_dict(),
        "parameters": ctl.layout.size,
        "state": ctl.state_layout.size,
        "meta": io.notes_of(archive, file),
        "blocks": _block_rows(ctl),
        "manifest": nc.manifest(ctl),
    }
    if isinstance(ctl, nc.QuantController):
        data["model_crc32"] = f"{ctl.model_crc32:08x}"
        data["formats"] = formats_as_fields(ctl.formats)
    if alarm is not None:
        data["alarm"] = alarm.settings
    if as_json:
        emit(data)
        return
    facts = {"kind": archive.kind, "parameters": data["parameters"], "state": data["state"]}
    used = {key: data["spec"][key] for key in ctl.spec.used_fields() if key not in _SIGNAL_FIELDS}
    if ctl.spec.encoder or ctl.spec.head:
        used.setdefault("dense_activation", ctl.spec.dense_activation)
    facts |= {"rate": f"{data['manifest']['robot']['control_hz']:g} Hz"}
    facts |= {key: value for key, value in used.items() if value is not None} | data["meta"]
    facts |= {"model CRC-32": data["model_crc32"]} if quant else {}
    facts |= {f"alarm: {name}": f"{value:.6g}" for name, value in data.get("alarm", {}).items()}
    table = plain_table(str(file), "field", "value")
    for key, value in facts.items():
        table.add_row(key, str(value))
    table.add_row("sha256", archive.sha256[:16] + "...")
    out.print(table)
    if any(getattr(ctl.spec, field) for field in _SIGNAL_FIELDS):
        out.print(_signal_table(data["manifest"]))
    columns = ("block", "shape", "unit", "smallest", "largest", *(("format",) if quant else ()))
    blocks = plain_table("", *columns, numbers=("smallest", "largest"))
    for row in data["blocks"]:
        cells = [row["name"], "x".join(map(str, row["shape"])), row["unit"], f"{row['min']:.4g}", f"{row['max']:.4g}"]
        blocks.add_row(*cells, *((row["format"],) if quant else ()))
    out.print(blocks)


def _signal_table(facts: Mapping[str, Any]) -> Any:
    """Return a table of inputs and outputs: names, units, limits and, in fixed point, fractional bits."""
    quant = any("frac_bits" in entry for entry in facts["actions"])
    numbers = ("lowest", "highest", *(("frac bits",) if quant else ()))
    table = plain_table("", "signal", "name", "unit", *numbers, numbers=numbers)
    for kind, rows in (("in", facts["observations"]), ("out", facts["actions"])):
        for row in rows:
            limits = ["" if row[end] is None else f"{row[end]:.6g}" for end in ("low", "high")]
            bits = [str(row["frac_bits"])] if quant else []
            table.add_row(f"{kind}[{row['index']}]", row["name"], row["unit"], *limits, *bits)
    return table


def _block_rows(ctl: nc.Controller | nc.QuantController) -> list[dict[str, Any]]:
    flat = ctl.theta_q if isinstance(ctl, nc.QuantController) else ctl.theta
    rows = []
    for name, values in ctl.layout.views(flat).items():
        row: dict[str, Any] = {"name": name, "shape": list(values.shape), "unit": ctl.layout[name].unit}
        row |= {"min": float(values.min()), "max": float(values.max())}
        if isinstance(ctl, nc.QuantController):
            f = ctl.formats.get(name)
            row |= {
                "unit": "raw",
                "format": f"int{f.bits}, {frac_bits_text(f)} frac bits" if f else "dt/tau: mantissa, shift",
            }
        rows.append(row)
    return rows
