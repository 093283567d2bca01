"""Numbers as C text: tables, literals and shifts that a compiler sees as constants."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

_WIDTH = 112


def literal(value: int) -> str:
    """Return an integer of up to 32 bits as a C expression; negative ones in parentheses."""
    return f"({value})" if value < 0 else str(value)


def rows(values: Iterable[int]) -> str:
    """Return the body of an initialiser: numbers in indented, wrapped lines."""
    text = ", ".join(str(value) for value in values)
    return textwrap.fill(text, _WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)


def array(storage: str, name: str, size: str, values: Iterable[int]) -> str:
    """Return the definition of a constant table: ``storage`` is its C type, ``size`` its bracketed dimension."""
    return f"static NC_CONST {storage} {name}[{size}] = {{\n{rows(values)}\n}};"


def shifted(expression: str, bits: int) -> str:
    """Return ``expression * 2^-bits``, rounded half up; to the left it is a product, which C defines for all signs."""
    if bits > 0:
        return f"nc_round_shift({expression}, {bits}u)"
    return expression if bits == 0 else f"({expression}) * {1 << -bits}"


@dataclass(frozen=True)
class Table:
    """One C expression a neuron or output. Where all are equal it stands in the code and takes no table."""

    name: str
    storage: str
    size: str
    values: tuple[str, ...]
    parameter: bool = False

    @property
    def uniform(self) -> bool:
        """Whether all values are equal."""
        return len(set(self.values)) == 1

    @property
    def definition(self) -> str:
        """The table."""
        body = textwrap.fill(
            ", ".join(self.values), _WIDTH, initial_indent="    ", subsequent_indent="    ", break_long_words=False
        )
        return f"static NC_CONST {self.storage} {self.name}[{self.size}] = {{\n{body}\n}};"

    def at(self, index: str) -> str:
        """Return the C expression of the value at ``index``."""
        return self.values[0] if self.uniform else f"{self.name}[{index}]"


@dataclass(frozen=True)
class Column:
    """One number a neuron or output. Where all are equal it is a literal in the code and takes no table.

    ``parameter``: it may change on the board, and so is always a table.
    """

    name: str
    storage: str
    size: str
    values: tuple[int, ...]
    parameter: bool = False

    @property
    def uniform(self) -> bool:
        """Whether all values are equal, for good."""
        return not self.parameter and len(set(self.values)) == 1

    @property
    def definition(self) -> str:
        """The table."""
        return array(self.storage, self.name, self.size, self.values)

    @property
    def member(self) -> str:
        """A parameter's name in the struct of them all."""
        return self.name.rpartition(">")[2]

    def at(self, index: str) -> str:
        """Return the C expression of the value at ``index``."""
        return literal(self.values[0]) if self.uniform else f"{self.name}[{index}]"


class Matrix(Column):
    """A table in any case, as code names its rows."""

    @property
    def uniform(self) -> bool:
        """Never: see above."""
        return False
