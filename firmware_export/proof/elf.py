"""Reading segments, sections and symbols of 32-bit little-endian ELF files."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from neuroctl.errors import ExportError

_LOAD: Final = 1
_SYMTAB, _NOBITS, _EXIDX = 2, 8, 0x70000001
_WRITE, _ALLOC, _EXEC = 1, 2, 4


@dataclass(frozen=True)
class Section:
    """One section: its name, kind, flags and size in bytes."""

    name: str
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True)
class Elf:
    """A parsed object or executable."""

    segments: tuple[tuple[int, bytes, int], ...]
    """Loadable parts: address, content, and size in memory (the rest is zero)."""
    sections: tuple[Section, ...]
    symbols: dict[str, int]
    """Address of each defined symbol; functions in Thumb state have bit 0 set."""
    undefined: frozenset[str]
    """Symbols that another object has to define."""

    @property
    def code_bytes(self) -> int:
        """Size of instructions and the literals between them."""
        return sum(s.size for s in self.sections if s.flags & _EXEC)

    @property
    def const_bytes(self) -> int:
        """Size of constant tables, without the unwinder's index, which C firmware discards."""
        kinds = (_ALLOC, _WRITE, _EXEC)
        return sum(s.size for s in self.sections if s.flags & sum(kinds) == _ALLOC and s.kind != _EXIDX)

    @property
    def data_bytes(self) -> int:
        """Size of variables: .data and .bss."""
        return sum(s.size for s in self.sections if s.flags & (_ALLOC | _WRITE) == _ALLOC | _WRITE)


def read_elf(path: Path) -> Elf:
    """Parse a 32-bit little-endian ELF file.

    Raises:
        ExportError: it is no such file, or truncated.

    """
    data = path.read_bytes()
    try:
        if data[:6] != b"\x7fELF\x01\x01":
            raise ExportError(f"{path.name}: not a 32-bit little-endian ELF file")
        return _parse(data)
    except (struct.error, IndexError, ValueError) as error:
        raise ExportError(f"{path.name}: a damaged ELF file: {error}") from None


def _parse(data: bytes) -> Elf:
    phoff, shoff = struct.unpack_from("<II", data, 28)
    phsize, phnum, shsize, shnum, shstr = struct.unpack_from("<HHHHH", data, 42)
    headers = [struct.unpack_from("<10I", data, shoff + index * shsize) for index in range(shnum)]
    names = headers[shstr][4]
    sections = tuple(Section(_text(data, names + h[0]), h[1], h[2], h[3], h[4], h[5], h[6]) for h in headers)
    segments = []
    for index in range(phnum):
        kind, offset, address, _, stored, memory = struct.unpack_from("<6I", data, phoff + index * phsize)
        if kind == _LOAD:
            segments.append((address, data[offset : offset + stored], memory))
    symbols, undefined = _symbols(data, sections)
    return Elf(tuple(segments), sections, symbols, undefined)


def _symbols(data: bytes, sections: tuple[Section, ...]) -> tuple[dict[str, int], frozenset[str]]:
    symbols: dict[str, int] = {}
    undefined = set()
    for table in (section for section in sections if section.kind == _SYMTAB):
        strings = sections[table.link].offset
        for offset in range(table.offset, table.offset + table.size, 16):
            name, value, _, _, _, section = struct.unpack_from("<IIIBBH", data, offset)
            if label := _text(data, strings + name):
                if section:
                    symbols[label] = value
                else:
                    undefined.add(label)
    return symbols, frozenset(undefined)


def _text(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()
