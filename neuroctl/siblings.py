"""``neuroctl.sims`` and ``neuroctl.firmware_export``: packages beside this one, under names that nobody else has.

In the source tree they stand beside ``neuroctl``, in a wheel inside it. ``import sims`` and ``import firmware_export``
give the same modules, unless another package owns those names; then both work. docs/decisions/0017 says why.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

NAMES: Final = ("sims", "firmware_export")
_HERE: Final = Path(__file__).resolve().parent


class _Siblings(MetaPathFinder, Loader):
    """Finds the siblings by their full names, and everything in them by the short names that are theirs."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top, _, rest = fullname.partition(".")
        if top == "neuroctl" and rest in NAMES:
            return _spec(fullname, rest)
        if top in NAMES and rest not in ("", "__main__"):
            ours = sys.modules.get(f"neuroctl.{top}")
            return ModuleSpec(fullname, self) if ours is not None and sys.modules.get(top) is ours else None
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(f"neuroctl.{spec.name}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Undo the one thing that importing under a second name changes."""
        if module.__spec__ is not None:
            module.__spec__ = module.__spec__.loader_state


def _spec(fullname: str, name: str) -> ModuleSpec | None:
    for folder in (_HERE / name, _HERE.parent / name):
        if (folder / "__init__.py").is_file():
            return spec_from_file_location(fullname, folder / "__init__.py", submodule_search_locations=[str(folder)])
    return None


def install() -> None:
    """Let Python find the siblings; doing it twice changes nothing."""
    if not any(isinstance(finder, _Siblings) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Siblings())


def share(name: str) -> None:
    """Make a sibling that is being imported by its short name the same module as by its full one."""
    full = f"neuroctl.{name}"
    sys.modules[name] = import_module(full)
    # What is loaded already is not imported anew, which would put the module verify in the place of its function.
    sys.modules.update(
        {key.removeprefix("neuroctl."): sys.modules[key] for key in [*sys.modules] if key.startswith(f"{full}.")}
    )
