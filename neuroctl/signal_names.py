"""Names of inputs and outputs, such as ``"pole angle [rad]"``: a text, its unit in brackets, and what C calls it."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final

from neuroctl.checks import shown
from neuroctl.errors import SpecError

SIGNAL_NAMES: Final = ("input_names", "output_names")
"""The fields of a spec with names."""
MAX_LENGTH: Final = 64
_ALLOWED: Final = re.compile(r"(?P<text>[A-Za-z0-9_'.,/+\-() ]+?)(?: ?\[(?P<unit>[A-Za-z0-9_'./+\-()^%*, ]+)\])?")
_COMMENTS: Final = ("/*", "*/", "//")
"""What would begin or end a comment in C, where names stand."""
_RESERVED: Final = "FRAC_BITS"


def names_of(field: str, value: Iterable[str], count: int) -> tuple[str, ...]:
    """Return the names of all inputs, or of all outputs, as a tuple; () for none.

    Args:
        field: name of the spec's field, for the message.
        value: the names.
        count: number of inputs or outputs.

    Raises:
        SpecError: they have no order, their number is another, one is no name, or C would call two the same.

    """
    if isinstance(value, (str, bytes, Mapping, Set)) or not isinstance(value, Iterable):
        raise SpecError(f"{field}: {shown(value)}; allowed: names in order, such as ('pole angle [rad]',)")
    names = tuple(value)
    if names and len(names) != count:
        raise SpecError(f"{field}: {len(names)} names; allowed: exactly {count}, or none")
    known: dict[str, str] = {}
    for index, name in enumerate(names):
        _check(f"{field}[{index}]", name)
        first = known.setdefault(identifier(name), name)
        if first != name:
            text = f"another name, as C calls both this and {first!r} {identifier(name)}"
            raise SpecError(f"{field}[{index}]: {name!r}; allowed: {text}")
        if names.index(name) != index:
            raise SpecError(f"{field}[{index}]: {name!r} again; allowed: each name once")
    return names


def _check(field: str, name: object) -> None:
    allowed = f"a text of up to {MAX_LENGTH} ASCII letters, digits, spaces and _'.,/+-(), then its unit in brackets"
    if not isinstance(name, str) or len(name) > MAX_LENGTH or not _ALLOWED.fullmatch(name):
        raise SpecError(f"{field}: {shown(name)}; allowed: {allowed}")
    if name != " ".join(name.split()):
        raise SpecError(f"{field}: {name!r}; allowed: single spaces, none at the ends")
    if any(mark in name for mark in _COMMENTS):
        raise SpecError(f"{field}: {name!r}; allowed: no {', '.join(_COMMENTS)}, which are comments in C")
    if identifier(name) in ("", _RESERVED):
        raise SpecError(f"{field}: {name!r}; allowed: letters or digits in it, and not {_RESERVED}, which C has")


def split_name(name: str) -> tuple[str, str]:
    """Return the text of a name and its unit, which may be empty."""
    match = _ALLOWED.fullmatch(name)
    return (match["text"].strip(), match["unit"] or "") if match else (name, "")


def identifier(name: str) -> str:
    """Return what C calls a name: ``POLE_ANGLE`` for ``"pole angle [rad]"``, ``RAY_AT_MINUS_15_DEG`` for -15."""
    text = split_name(name)[0].replace("'", "")
    for sign, word in (("-", "minus "), ("+", "plus ")):
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(sign)}(?=[0-9])", word, text)
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").upper()


def names_from(columns: Sequence[str]) -> tuple[str, ...]:
    """Return names as near as possible to those of a table's columns; () where no distinct ones remain."""
    plain = [unicodedata.normalize("NFKD", column).encode("ascii", "ignore").decode() for column in columns]
    names = [_nearest(" ".join(text.split())) for text in plain]
    try:
        return names_of("columns", names, len(names))
    except SpecError:
        return ()


def _nearest(column: str) -> str:
    """Return a column's name where it is allowed, else what remains of it."""
    if _ALLOWED.fullmatch(column) and not any(mark in column for mark in _COMMENTS):
        return column[:MAX_LENGTH].strip()
    return re.sub(r"[^A-Za-z0-9_'.,+\-() ]+", "_", column)[:MAX_LENGTH].strip()


def difference(ours: Sequence[str], theirs: Sequence[str]) -> tuple[int, str, str] | None:
    """Return the first place where two lists of names differ, and what each has there; None where they agree.

    Where one side has no names nothing differs. Units count: an angle in degrees is another input.
    """
    if not ours or not theirs:
        return None
    for index, (our, their) in enumerate(itertools.zip_longest(ours, theirs)):
        if our != their:
            return index, shown(our), shown(their)
    return None
