"""The C program around exported headers: it steps through scripts and records every bit."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from neuroctl.errors import require
from neuroctl.maths.fixed import QFormat
from neuroctl.quant import QuantController

from ..emit import cell_c, dt_us
from ..emit.parts import Field

HARNESS: Final = Path(__file__).parent / "harness"


class DeviceUnderTest(NamedTuple):
    """An exported header, and the integer controller whose bits it has to give."""

    name: str
    header: Path
    source: Path | None
    q: QuantController
    fields: list[Field]

    @property
    def words(self) -> int:
        """Number of 32-bit words in a step's record."""
        return self.q.spec.outputs + sum(field.words for field in self.fields)

    def word_name(self, index: int) -> str:
        """Return the name of a word of a record, such as ``y[3]``."""
        if index < self.q.spec.outputs:
            return f"out[{index}]"
        index -= self.q.spec.outputs
        for field in self.fields:
            if index < field.words:
                return f"{field.name}[{index}]" if field.size else field.name
            index -= field.words
        raise IndexError(index)


def device_under_test(name: str, header: Path, q: QuantController, source: Path | None = None) -> DeviceUnderTest:
    """Return a device under test; ``source`` is its C file, if the header does not hold all.

    Raises:
        ExportError: the controller cannot be written as C; a damaged file can hold such.

    """
    return DeviceUnderTest(name, header, source, q, cell_c(q, name).fields)


def write_harness(devices: Sequence[DeviceUnderTest], scratch: Path) -> None:
    """Write the harness's sources for the devices into a folder, and copy their headers there."""
    for device in devices:
        for path in filter(None, (device.header, device.source)):
            target = scratch / path.name
            if not target.exists() or not target.samefile(path):
                shutil.copy(path, target)
    context = {"subjects": [_values(device) for device in devices]}
    for template in ("control.c", "selftest.c", "run.h", "run.c", "avr.c"):
        (scratch / template).write_text(_environment().get_template(f"{template}.j2").render(context))
    shutil.copy(HARNESS / "main.c", scratch)


def _values(device: DeviceUnderTest) -> dict[str, Any]:
    spec, formats = device.q.spec, device.q.formats
    return {
        "name": device.name,
        "NAME": device.name.upper(),
        "inputs": spec.inputs,
        "outputs": spec.outputs,
        "neurons": spec.neurons,
        "in_frac_differs": _frac_differs(device, "IN", formats["u"]),
        "out_frac_differs": _frac_differs(device, "OUT", formats["out"]),
        "dt_us": dt_us(spec.dt_s),
        "crc": device.q.model_crc32,
        "words": device.words,
        "source": device.source.name if device.source else "",
        "fields": device.fields,
    }


def _frac_differs(device: DeviceUnderTest, kind: str, form: QFormat) -> str:
    """Return the preprocessor's condition that a header has other fractional bits than a format.

    Those of an array's entries are no preprocessor's: they are read here, and the condition is 0 or 1.
    """
    macro = f"{device.name.upper()}_{kind}_FRAC_BITS"
    if not form.extra:
        return f"{macro} != ({form.frac_bits})"
    found = re.search(rf"\b{macro}\[\w+\] = {{([^}}]*)}};", device.header.read_text(encoding="utf-8"))
    entries = [int(word) for word in re.findall(r"-?\d+", found.group(1))] if found else []
    return str(int(entries != form.entry_frac_bits.tolist()))


@functools.cache
def _environment() -> Any:
    jinja2 = require("jinja2", "export")
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(HARNESS),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
