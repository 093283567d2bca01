"""Numbers as C text: tables, literals, and shifts by constants."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

_WIDTH = 112


def literal(value: int) -> str:
    """Return an integer of up to 32 bits as a C expression; negative ones in parentheses."""
    return f"({value})" if value < 0 else str(value)


def rows(values: Iterable[int]) -> str:
    """Return the body of an initializer: numbers in indented, wrapped lines."""
    text = ", ".join(str(value) for value in values)
    return textwrap.fill(text, _WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)


def array(storage: str, name: str, size: str, values: Iterable[int]) -> str:
    """Return the definition of a constant table: ``storage`` is its C type, ``size`` its bracketed dimension."""
    return f"static NC_CONST {storage} {name}[{size}] = {{\n{rows(values)}\n}};"


def shifted(expression: str, bits: int) -> str:
    """Return ``expression * 2^-bits``, rounded half up; a shift to the left is a product, safe for all signs in C."""
    if bits > 0:
        return f"nc_round_shift({expression}, {bits}u)"
    return expression if bits == 0 else f"({expression}) * {1 << -bits}"


@dataclass(frozen=True)
class Table:
    """One C expression per neuron or output. If all are equal, it is used in the code without a table."""

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
        """The C definition of the table."""
        body = textwrap.fill(
            ", ".join(self.values), _WIDTH, initial_indent="    ", subsequent_indent="    ", break_long_words=False
        )
        return f"static NC_CONST {self.storage} {self.name}[{self.size}] = {{\n{body}\n}};"

    def at(self, index: str) -> str:
        """Return the C expression of the value at ``index``."""
        return self.values[0] if self.uniform else f"{self.name}[{index}]"


@dataclass(frozen=True)
class Column:
    """One number per neuron or output. If all are equal, it is a literal in the code without a table.

    ``parameter``: whether it may change on the board, and so is always a table.
    """

    name: str
    storage: str
    size: str
    values: tuple[int, ...]
    parameter: bool = False

    @property
    def uniform(self) -> bool:
        """Whether all values are equal and cannot change."""
        return not self.parameter and len(set(self.values)) == 1

    @property
    def definition(self) -> str:
        """The C definition of the table."""
        return array(self.storage, self.name, self.size, self.values)

    @property
    def member(self) -> str:
        """A parameter's name in the struct of all parameters."""
        return self.name.rpartition(">")[2]

    def at(self, index: str) -> str:
        """Return the C expression of the value at ``index``."""
        return literal(self.values[0]) if self.uniform else f"{self.name}[{index}]"


class Matrix(Column):
    """A column that always has a table, as code indexes its rows."""

    @property
    def uniform(self) -> bool:
        """False: a matrix always has a table."""
        return False
