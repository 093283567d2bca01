"""The manifest of a controller: what whoever runs it has to know, as plain JSON types.

It stands in the JSON beside exported C, in ONNX metadata, and ``neuroctl info`` shows it. All of it follows from the
controller: from its spec, parameters, formats and notes.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import initial_blocks
from neuroctl.cells.base import input_map
from neuroctl.controller import Controller
from neuroctl.maths.fixed import QFormat
from neuroctl.quant_controller import QuantController
from neuroctl.signal_names import identifier, split_name
from neuroctl.spec import Limits

Array = NDArray[Any]

SCHEMA: Final = 1
_SCORES: Final = ("score", "validation_episodes", "loss")
"""Notes that say how well a controller did; the others say how it was made."""


def manifest(controller: Controller | QuantController) -> dict[str, Any]:
    """Return a controller's manifest.

    Fields: ``schema``; ``obs_len`` and ``action_len``; ``robot``, with ``control_hz``; ``dt_s``; ``observations``, each
    with place, name and unit (empty where the spec names none), limits and, in fixed point, ``frac_bits``, and
    ``offset`` and ``gain`` of what the network sees, ``(u - offset) * gain``; ``actions`` alike, whose numbers are
    in the unit itself, so that ``action_scale`` is 1; ``reset``, the kind of initial state, and a learned one's blocks;
    ``spec``; ``model``, with ``numbers`` ("float32", "float64" or "fixed point") and the parameters' SHA-256, or in
    fixed point the CRC-32 that C and the serial link have; ``training`` and ``eval``, from the notes.

    Example:
        >>> spec = nc.Spec(cell="gru", inputs=1, neurons=2, outputs=1, dt_s=0.02, input_names=("pole angle [rad]",))
        >>> facts = nc.manifest(nc.Controller(spec, meta={"task": "balance"}))
        >>> facts["robot"], facts["observations"][0]["name"], facts["training"]
        ({'control_hz': 50.0}, 'pole angle', {'task': 'balance'})

    """
    spec, formats = controller.spec, getattr(controller, "formats", {})
    offset, gain = input_map(spec)
    observations = _signals(spec.input_names, spec.inputs, spec.input_limits, formats.get("u"))
    for entry, *numbers in zip(observations, offset.tolist(), gain.tolist(), strict=True):
        entry |= dict(zip(("offset", "gain"), numbers, strict=True))
    return {
        "schema": SCHEMA, "obs_len": spec.inputs, "action_len": spec.outputs,
        "robot": {"control_hz": round(1.0 / spec.dt_s, 9)}, "dt_s": spec.dt_s,
        "observations": observations, "action_scale": 1.0,
        "actions": _signals(spec.output_names, spec.outputs, spec.output_limits, formats.get("out")),
        "reset": {"initial_state": spec.initial_state} | _learned(controller),
        "spec": spec.to_dict(), "model": _model(controller),
        "training": {name: note for name, note in controller.meta.items() if name not in _SCORES},
        "eval": {name: note for name, note in controller.meta.items() if name in _SCORES},
    }  # fmt: skip


def _signals(names: tuple[str, ...], count: int, limits: Limits | None, form: QFormat | None) -> list[dict[str, Any]]:
    """Return an entry for each input, or each output."""
    bits = None if form is None else np.broadcast_to(form.entry_frac_bits, count)
    entries = []
    for index, name in enumerate(names or ("",) * count):
        text, unit = split_name(name)
        low, high = limits[index] if limits else (None, None)
        entry: dict[str, Any] = {"index": index, "name": text, "unit": unit, "low": low, "high": high}
        if bits is not None:
            entry["frac_bits"] = int(bits[index])
        entries.append(entry)
    return entries


def _learned(controller: Controller | QuantController) -> dict[str, Any]:
    """Return the blocks of a learned initial state: as floats, and in fixed point as integers."""
    flat = controller.theta_q if isinstance(controller, QuantController) else controller.theta
    blocks = controller.layout.views(flat)
    return {name: blocks[name].tolist() for name in initial_blocks(controller.spec).values()}


def _model(controller: Controller | QuantController) -> dict[str, Any]:
    if isinstance(controller, QuantController):
        return {"numbers": "fixed point", "crc32": f"{controller.model_crc32:08x}"}
    theta = np.ascontiguousarray(controller.theta)
    theta = theta.astype(theta.dtype.newbyteorder("<"))
    return {"numbers": controller.spec.dtype, "sha256": hashlib.sha256(theta.tobytes()).hexdigest()}


def onnx_facts(controller: Controller) -> dict[str, str]:
    """Return what a manifest says in the fields that ONNX policies have elsewhere: texts, lists with commas."""
    spec = controller.spec
    rows = (("observation_names", spec.input_names), ("action_names", spec.output_names))
    facts = {"control_hz": f"{1.0 / spec.dt_s:.9g}", "action_scale": "1.0"}
    return facts | {field: ",".join(identifier(name).lower() for name in names) for field, names in rows if names}
