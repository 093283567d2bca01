"""Print constraints that pin each dependency of pyproject.toml to the lowest version that it declares."""

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def minimums() -> dict[str, str]:
    """Return the lowest allowed version of each package, by the package's name."""
    requirements = [*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])]
    lowest = (re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?>=([0-9.]+)", entry) for entry in requirements)
    return {match[1]: match[2] for match in lowest if match}


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in minimums().items()))
