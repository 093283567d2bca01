"""The packages of an export: their files and places."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, NamedTuple


class Package(NamedTuple):
    """One package of an export.

    Args:
        text: its description and use, in a sentence or two.
        header: place of the header; ``{name}`` is the controller's.
        source: place of the C file; empty if the header holds all.
        files: places of further files, with their templates.

    """

    text: str
    header: str
    source: str
    files: dict[str, str]


_LINK: Final = {
    "include/{name}_link.h": "link.h.j2",
    "include/nc_link.h": "nc_link.h",
    "src/nc_link.c": "nc_link.c",
    "src/{name}_tunable.h": "tunable.h.j2",
}
"""The serial link's board side, and the C with parameters in RAM; files named nc_ are copied unchanged."""


def _flat(folder: str) -> dict[str, str]:
    """Return the link's files in one folder."""
    return {folder + place.partition("/")[2]: file for place, file in _LINK.items()}


PACKAGES: Final = MappingProxyType(
    {
        "header": Package(
            "One self-contained C99 header: put this folder on the include path, and include `{name}.h` in the C or "
            "C++ file\nthat steps the controller, as `{name}_example.c` does. Nothing else has to be built.",
            "{name}.h",
            "",
            {
                "{name}_example.c": "example.c.j2",
                "{name}_link_example.c": "link_example.c.j2",
                "{name}_README.md": "packages/readme.md.j2",  # not README.md: the folder may be a program's own
            }
            | _flat(""),
        ),
        "cmake": Package(
            "A CMake library `{name}`: `add_subdirectory` it and link to it, or build it alone with its example.",
            "include/{name}.h",
            "src/{name}.c",
            {
                "CMakeLists.txt": "packages/cmake_lists.txt.j2",
                "example/main.c": "example.c.j2",
                "example/link.c": "link_example.c.j2",
                "README.md": "packages/readme.md.j2",
            }
            | _LINK,
        ),
        "arduino": Package(
            "An Arduino library: put this folder into the sketchbook's `libraries`; see File > Examples > {name}.",
            "src/{name}.h",
            "src/{name}.c",
            {
                "library.properties": "packages/library.properties.j2",
                "examples/loop/loop.ino": "packages/arduino.ino.j2",
                "examples/link/link.ino": "packages/link.ino.j2",
                "README.md": "packages/readme.md.j2",
            }
            | _flat("src/"),
        ),
        "platformio": Package(
            "A PlatformIO library: put this folder into a project's `lib`; its examples are projects.",
            "include/{name}.h",
            "src/{name}.c",
            {
                "library.json": "packages/library.json.j2",
                "examples/loop/platformio.ini": "packages/platformio.ini.j2",
                "examples/loop/src/loop.ino": "packages/arduino.ino.j2",
                "examples/link/platformio.ini": "packages/platformio.ini.j2",
                "examples/link/src/link.ino": "packages/link.ino.j2",
                "README.md": "packages/readme.md.j2",
            }
            | _LINK,
        ),
        "zephyr": Package(
            "A Zephyr module: add this folder to ZEPHYR_EXTRA_MODULES; `west build samples/loop` builds the example.",
            "include/{name}.h",
            "src/{name}.c",
            {
                "zephyr/module.yml": "packages/module.yml.j2",
                "CMakeLists.txt": "packages/zephyr_cmake.txt.j2",
                "Kconfig": "packages/kconfig.j2",
                "samples/loop/CMakeLists.txt": "packages/zephyr_app_cmake.txt.j2",
                "samples/loop/prj.conf": "packages/prj.conf.j2",
                "samples/loop/sample.yaml": "packages/sample.yaml.j2",
                "samples/loop/src/main.c": "packages/zephyr_main.c.j2",
                "README.md": "packages/readme.md.j2",
            }
            | _LINK,
        ),
        "espidf": Package(
            "An ESP-IDF component: put this folder into a project's `components`; `examples/loop` is a project.",
            "include/{name}.h",
            "src/{name}.c",
            {
                "CMakeLists.txt": "packages/idf_cmake.txt.j2",
                "idf_component.yml": "packages/idf_component.yml.j2",
                "examples/loop/CMakeLists.txt": "packages/idf_app_cmake.txt.j2",
                "examples/loop/main/CMakeLists.txt": "packages/idf_main_cmake.txt.j2",
                "examples/loop/main/main.c": "packages/idf_main.c.j2",
                "README.md": "packages/readme.md.j2",
            }
            | _LINK,
        ),
    }
)
"""One entry per package; all have the same C."""
