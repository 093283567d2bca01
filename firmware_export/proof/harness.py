"""The C around the exported headers: one program that steps through scripts and records every bit."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from neuroctl.errors import require
from neuroctl.quant import QuantController

from ..emit import cell_c, dt_us
from ..emit.parts import Field

HARNESS: Final = Path(__file__).parent / "harness"


class Subject(NamedTuple):
    """An exported header, and the integer controller that it has to equal."""

    name: str
    header: Path
    source: Path | None
    q: QuantController
    fields: list[Field]

    @property
    def words(self) -> int:
        """32-bit words in a step's record."""
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


def subject(name: str, header: Path, q: QuantController, source: Path | None = None) -> Subject:
    """Return a subject; ``source`` is its C file, if the header does not hold all.

    Raises:
        ExportError: the controller has no C; a damaged file can hold such.

    """
    return Subject(name, header, source, q, cell_c(q, name).fields)


def write_harness(subjects: Sequence[Subject], scratch: Path) -> None:
    """Write the harness's sources for these subjects into a folder, and copy their headers there."""
    for entry in subjects:
        for path in filter(None, (entry.header, entry.source)):
            target = scratch / path.name
            if not target.exists() or not target.samefile(path):
                shutil.copy(path, target)
    context = {"subjects": [_values(entry) for entry in subjects]}
    for template in ("control.c", "selftest.c", "run.h", "run.c", "avr.c"):
        (scratch / template).write_text(_environment().get_template(f"{template}.j2").render(context))
    shutil.copy(HARNESS / "main.c", scratch)


def _values(entry: Subject) -> dict[str, Any]:
    spec, formats = entry.q.spec, entry.q.formats
    return {
        "name": entry.name,
        "NAME": entry.name.upper(),
        "inputs": spec.inputs,
        "outputs": spec.outputs,
        "neurons": spec.neurons,
        "in_frac_bits": formats["u"].frac_bits,
        "out_frac_bits": formats["out"].frac_bits,
        "dt_us": dt_us(spec.dt_s),
        "crc": entry.q.model_crc32,
        "words": entry.words,
        "source": entry.source.name if entry.source else "",
        "fields": entry.fields,
    }


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
