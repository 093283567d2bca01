"""Errors as the command line tells them: fields that options set by the options' names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import typer
from typer.core import TyperCommand

from neuroctl.errors import ExportError, NeuroctlError

_FIELD: Final = re.compile(r"^(\w+_\w+)(?=(\[[^]]*\])?: )|\b(\w+_\w+)=True\b")
DECLARE: Final = "`neuroctl import --input-limits`"
"""What declares limits of inputs where a network is imported."""


class Command(TyperCommand):
    """A command whose errors name ``--dense-activation`` where a library's name ``dense_activation``."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command."""
        try:
            return super().invoke(ctx)
        except NeuroctlError as error:
            text = str(error)
            if (named := by_options(text, self.params)) != text:
                error.args = (named, *error.args[1:])
            raise


def by_options(text: str, parameters: Sequence[Any]) -> str:
    """Return an error's text with the field that it begins with, and those that are to be True, as options.

    A field of one word, such as ``mode``, stays: the option is found by it.
    """
    options: dict[str, str] = {}
    for parameter in parameters:
        if long := [option for option in parameter.opts if option.startswith("--")]:
            names = {str(parameter.name), long[0].removeprefix("--").replace("-", "_")}
            options |= dict.fromkeys(names, long[0])
    return _FIELD.sub(lambda match: options.get(match[1] or match[3], match[0]), text)


@contextmanager
def ranges_from(advice: str) -> Iterator[None]:
    """Let errors of inputs whose ranges nothing tells, or a recording tells badly, end with advice.

    Raises:
        ExportError: as raised inside, with the advice.

    """
    try:
        yield
    except ExportError as error:
        if str(error).startswith("calibration: "):
            raise ExportError(f"{error}; {advice}") from None
        raise
