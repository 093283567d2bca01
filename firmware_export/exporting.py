"""Exporting an integer controller to a folder with its C and the controller itself, so that both can be compared."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from neuroctl import Alarm, io
from neuroctl.checks import one_of
from neuroctl.controller import Controller
from neuroctl.errors import ExportError
from neuroctl.manifests import manifest as controller_manifest
from neuroctl.quant import LIMIT, QuantController

from .emit import alarm_source, cell_c, sources
from .emit.examples import program_ram_bytes
from .emit.parts import row_bytes
from .emit.tunable import param_image, shape_crc32
from .folder import check_free, manifest, replace_all
from .names import check_name
from .packages import PACKAGES
from .targets import Target, target_of


def export(
    q: QuantController | Alarm,
    out_dir: str | os.PathLike[str],
    name: str = "ctl",
    target: str = "generic",
    package: str = "header",
    *,
    force: bool = False,
) -> Path:
    """Write a controller's firmware into a folder: C with an example, the controller, and a manifest.

    - ``<name>.h``: the header, self-contained in the package ``header``, else with ``<name>.c`` in its place
    - an example, and the files of the package's build system; see ``PACKAGES``
    - ``<name>_alarm.h``: of an alarm: its C, beside the header
    - ``<name>.npz``: the integer controller, which ``verify`` compares the header with
    - ``<name>.json``: the export's arguments, the controller's ``neuroctl.manifest``, the overflow certificate, and
      each file's hash

    The same controller always gives the same bytes. All files are replaced or none.

    Args:
        q: the controller, from ``Controller.quantize``, or an alarm, with its controller; its state is not changed.
        out_dir: an empty or new folder, or one that holds an earlier export of the same name and nothing else.
        name: prefix of every C identifier.
        target: a row of ``TARGETS``; the C is the same for all, the header's comments differ.
        package: a row of ``PACKAGES``: header, cmake, arduino, platformio, zephyr or espidf.
        force: replace edited files, and write beside files of other origin.

    Returns:
        The header's path.

    Raises:
        ExportError: an argument is not allowed, the folder holds other files or cannot be written; nothing has changed.
        BackendUnavailable: the template engine is not installed.

    """
    one_of("package", package, PACKAGES, error=ExportError)
    check_name(name, package)
    core = target_of(target)
    alarm, q = (q, q.controller) if isinstance(q, Alarm) else (None, q)
    if not isinstance(q, QuantController):
        raise ExportError(f"q: {type(q).__name__}; allowed: a QuantController, from Controller.quantize, or an Alarm")
    copy = QuantController(q.spec, q.formats, q.theta_q.copy(), q.calibration, meta=q.meta)
    layout = PACKAGES[package]
    _check_fits(copy, name, core)
    files = {file: text.encode() for file, text in sources(copy, name, core, layout).items()}
    if alarm is not None:
        files[layout.header.format(name=f"{name}_alarm")] = alarm_source(alarm, name).encode()
    files[f"{name}.npz"] = _saved(copy)
    fields = {"name": name, "target": target, "package": package, "model_crc32": copy.model_crc32}
    fields |= {"shape_crc32": shape_crc32(copy), "param_bytes": len(param_image(copy))}
    fields |= {"certificate": {block: list(bound) for block, bound in copy.bounds.items()}, "certificate_limit": LIMIT}
    fields |= {"header": layout.header.format(name=name), "source": layout.source.format(name=name)}
    fields |= {"manifest": controller_manifest(copy)}
    files[f"{name}.json"] = manifest(fields, files)
    folder = Path(io.file_name(out_dir))
    if not force:
        check_free(folder, name, frozenset(files))
    replace_all(folder, name, files)
    return folder / layout.header.format(name=name)


def _check_fits(q: QuantController, name: str, core: Target) -> None:
    """Refuse a controller whose weights, or whose state and self-test, do not fit the target's memory.

    Raises:
        ExportError: names the bytes needed and allowed.

    """
    weights = 0
    for block, entry in q.layout.blocks.items():
        *rows, columns = (1, *entry.shape)
        weights += math.prod(rows) * row_bytes(columns, q.formats[block].bits if block in q.formats else 32)
    ram = program_ram_bytes(q, cell_c(q, name))
    for what, takes, has in (("weights", weights, core.flash_bytes), ("state and self-test", ram, core.ram_bytes)):
        if has and takes > has:
            raise ExportError(f"target: {core.name!r}: {what} take {takes} bytes; allowed: {has}; take another target")


def _saved(q: QuantController) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "controller.npz"
        q.save(path)
        return path.read_bytes()


def export_file(
    file: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    name: str = "ctl",
    target: str = "generic",
    package: str = "header",
    weight_bits: int = 16,
    state_bits: int = 32,
    force: bool = False,
    allow_coarse: bool = False,
) -> Path:
    """Export a saved controller, float or integer, or a saved alarm; see ``export``.

    Args:
        file: an ``.npz`` file of ``Controller.save``, ``QuantController.save`` or ``Alarm.save``. A float controller is
            quantized by its declared limits and by recorded inputs in the file.
        out_dir: see ``export``.
        name: see ``export``.
        target: see ``export``.
        package: see ``export``.
        weight_bits: storage of a float controller's weights, 2, 3, 4, 8 or 16; an integer one keeps its own.
        state_bits: storage of a float controller's state, 16 or 32; an integer one keeps its own.
        force: see ``export``.
        allow_coarse: see ``neuroctl.quant.quantize``.

    Returns:
        The header's path.

    Raises:
        FileFormatError: the file is incomplete, damaged or of another kind.
        ExportError: the controller cannot be quantized or exported with these arguments; nothing has changed.

    """
    q, _ = quantized_file(file, weight_bits=weight_bits, state_bits=state_bits, allow_coarse=allow_coarse)
    return export(q, out_dir, name, target, package, force=force)


def quantized_file(
    file: str | os.PathLike[str],
    *,
    weight_bits: int = 16,
    state_bits: int = 32,
    calibration: ArrayLike | None = None,
    allow_coarse: bool = False,
) -> tuple[QuantController | Alarm, Controller | None]:
    """Return a file's alarm, or its controller as an integer one, and the float one if the file holds that.

    Args:
        file: see ``export_file``.
        weight_bits: see ``export_file``.
        state_bits: see ``export_file``.
        calibration: recorded inputs ``[T, inputs]`` instead of those in the file.
        allow_coarse: see ``export_file``.

    Raises:
        FileFormatError: the file is incomplete, damaged or of another kind.
        ExportError: the controller cannot be quantized with these arguments.

    """
    archive = io.read_archive(file)
    if archive.kind == "alarm":
        alarm = Alarm.from_archive(archive, file)
        return Alarm(_recalibrated(alarm.controller, calibration), **alarm.settings), None
    if archive.kind == "quant":
        return _recalibrated(QuantController.from_archive(archive, file), calibration), None
    io.expect_kind(archive, "controller", file)
    model = io.model_of(archive, file)
    ctl = Controller(model.spec, model.theta, meta=model.meta)
    recorded = model.calibration if calibration is None else calibration
    return ctl.quantize(weight_bits, recorded, state_bits, allow_coarse=allow_coarse), ctl


def _recalibrated(q: QuantController, calibration: ArrayLike | None) -> QuantController:
    """Return the controller with other test vectors, if there are any."""
    if calibration is None:
        return q
    return QuantController(q.spec, q.formats, q.theta_q, np.asarray(calibration), meta=q.meta)
