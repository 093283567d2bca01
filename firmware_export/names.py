"""Names of controllers: they become C identifiers, macros and file names."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from neuroctl.errors import ExportError

MAX_LENGTH: Final = 63 - len("_LINK_REPORT_BYTES")
"""C99 distinguishes internal identifiers by 63 characters, including the longest suffix of a name."""

_KEYWORDS: Final = frozenset(
    """
    auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
    alignas alignof bool constexpr false nullptr static_assert thread_local true typeof typeof_unqual
    and and_eq asm atomic_cancel atomic_commit atomic_noexcept bitand bitor catch char8_t char16_t char32_t class
    co_await co_return co_yield compl concept const_cast consteval constinit decltype delete dynamic_cast explicit
    export friend mutable namespace new noexcept not not_eq operator or or_eq private protected public reflexpr
    reinterpret_cast requires static_cast synchronized template this throw try typeid typename using virtual wchar_t
    xor xor_eq
    """.split()
)
_HEADERS: Final = frozenset(
    """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic
    stdbit stdbool stdckdint stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype
    """.split()
)


_CMAKE: Final = frozenset(
    """
    all all_build clean default_target depend edit_cache help install list_install_components package package_source
    preinstall rebuild_cache run_tests test zero_check continuous experimental nightly
    """.split()
)
_TAKEN: Final = MappingProxyType(
    {
        "cmake": (_CMAKE, "a target that CMake makes itself"),
        "arduino": (frozenset(["arduino"]), "Arduino, as its header is Arduino.h"),
        "platformio": (frozenset(["arduino"]), "Arduino, as its header is Arduino.h"),
    }
)
"""Names that a package's build system reserves, in lower case, with a description."""


def check_name(name: object, package: str = "header") -> str:
    """Return the name if a controller in a package may have it.

    Raises:
        ExportError: it is no C identifier, a keyword of C or C++, reserved, too long, a standard header's name, or
            reserved by the package's build system.

    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ExportError(f"name: {name!r}; allowed: a C identifier: letters, digits and _, no digit first")
    if len(name) > MAX_LENGTH:
        raise ExportError(f"name: {len(name)} characters; allowed: at most {MAX_LENGTH}")
    if name in _KEYWORDS:
        raise ExportError(f"name: {name!r} is a keyword of C or C++; allowed: any other identifier")
    if name.startswith("_") or "__" in f"{name}_":
        raise ExportError(f"name: {name!r} is reserved; allowed: no _ at either end and no double _")
    if f"{name}_".lower().startswith("nc_"):
        raise ExportError(f"name: {name!r}; allowed: anything but nc_, which the shared helpers use")
    if name.lower() in _HEADERS:
        raise ExportError(f"name: {name!r}; allowed: anything but the name of a standard header, as {name}.h hides it")
    reserved, what = _TAKEN.get(package, (frozenset(), ""))
    if name.lower() in reserved:
        raise ExportError(f"name: {name!r}; allowed in package {package!r}: anything but {what}")
    return name
