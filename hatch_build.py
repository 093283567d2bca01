"""The wheel's layout: ``sims`` and ``firmware_export`` stand inside ``neuroctl``, where no other package has files."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Layout(BuildHookInterface):
    """Adds both packages to a wheel; an editable install finds them in the source tree."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add each package in full, and under its short name the one file that leads there."""
        if version == "standard":
            for name in ("sims", "firmware_export"):
                build_data["force_include"][name] = f"neuroctl/{name}"
                build_data["force_include"][f"{name}/__init__.py"] = f"{name}/__init__.py"
