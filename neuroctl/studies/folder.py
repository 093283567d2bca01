"""A study's folder: its files, the order of writing them, and checks."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from neuroctl.checks import shown
from neuroctl.errors import NeuroctlError, StudyError
from neuroctl.io import atomic_write, canonical_json
from neuroctl.machine import lock
from neuroctl.signal_names import SIGNAL_NAMES

MAY_CHANGE: Final = ("generations", "evaluations", "epochs", "target_score", "notes")  # when a study is resumed
_NOT_CONFIG: Final = ("schema", "versions")  # in study.json besides the configuration


class StudyFolder:
    """Opens a folder for one study and holds a lock on it while in use.

    A kind of study derives a class that names its files, and reads and writes its checkpoint.

    Args:
        path: the folder.
        config: the study's configuration as plain JSON types.
        resume: whether the folder has to hold the study already; otherwise it must not.

    Raises:
        StudyError: the folder cannot be made or written, is in use, holds other files or another study.

    """

    SCHEMAS: ClassVar[tuple[int, ...]]
    """Schemas of ``study.json`` that can be read; the last is written."""
    FILES: ClassVar[tuple[str, ...]] = ("study.json", "checkpoint.npz", "best.npz", "best-fixed.npz", "history.csv")
    """Names of the study's files. Only these, the lock and the remains of killed writes are ever removed."""
    PACKAGES: ClassVar[tuple[str, ...]] = ("neuroctl", "numpy", "numba")
    """Packages that determine a study's bits, besides its configuration and Python."""

    def __init__(self, path: Path, config: dict[str, Any], *, resume: bool):
        self._path = path
        self.config = config
        self._resume = resume
        self._lock, self._new = -1, False
        self.versions = self.current_versions()

    @classmethod
    def current_versions(cls) -> dict[str, str]:
        """Return the versions of Python and of the installed ones of ``PACKAGES``."""
        versions = {"python": platform.python_version()}
        for name in cls.PACKAGES:
            with contextlib.suppress(metadata.PackageNotFoundError):  # run from a checkout, or not needed
                versions[name] = metadata.version(name)
        return versions

    def file(self, name: str) -> Path:
        """Return the path of one of the study's files."""
        return self._path / name

    @property
    def best_path(self) -> Path:
        """Path of the best controller."""
        return self.file("best.npz")

    @property
    def fixed_path(self) -> Path:
        """Path of the best controller's integers, of a study in fixed point."""
        return self.file("best-fixed.npz")

    @property
    def checkpoint_path(self) -> Path:
        """Path of the checkpoint."""
        return self.file("checkpoint.npz")

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException as error:
            self.__exit__()
            if isinstance(error, (OSError, ValueError)) and not isinstance(error, NeuroctlError):
                reason = getattr(error, "strerror", None) or error
                raise StudyError(f"out: {str(self._path)!r} cannot be used: {reason}") from None
            raise
        return self

    def _open(self) -> None:
        study = self._path / "study.json"
        if self._resume and not study.is_file():
            raise StudyError(f"out: {self._path} holds no study to resume; allowed: a folder with a study.json")
        self._make()
        self._check_no_others(study)  # before the lock file: a refused folder is not changed
        self._take_lock()
        self._check_no_others(study)
        self._new = not study.is_file() or (not self._resume and self._is_unbegun())
        if not self._new:
            self._check_same(study)
        for leftover in self._path.iterdir():
            if self._is_leftover(leftover.name) and leftover.is_file():
                leftover.unlink()

    def _is_unbegun(self) -> bool:
        """Whether the study that is here was stopped before anything of its first step was stored."""
        names = [name for name in self.FILES if self.file(name).exists()]
        history = self.file("history.csv")
        rows = history.read_bytes().count(b"\n") if history.is_file() else 0
        return not {*names} - {"study.json", history.name} and rows <= 1  # its header

    def _is_leftover(self, name: str) -> bool:
        """Whether a killed ``atomic_write`` of one of the study's files left it."""
        return re.fullmatch(rf"\.({'|'.join(map(re.escape, self.FILES))})\.[a-z0-9_]{{8}}", name) is not None

    def _check_no_others(self, study: Path) -> None:
        if study.is_file():
            return
        others = sorted(p.name for p in self._path.iterdir() if p.name != ".lock" and not self._is_leftover(p.name))
        if others:
            raise StudyError(f"out: {self._path} holds other files ({others[0]}); allowed: a new or empty folder")

    def __exit__(self, *error: object) -> None:
        if self._new and any(error) and not self.checkpoint_path.exists():
            self._leave_as_found()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _leave_as_found(self) -> None:
        """Remove a study that failed before its first generation, as it would refuse the corrected one."""
        with contextlib.suppress(OSError):
            for name in (*self.FILES, ".lock"):
                (self._path / name).unlink(missing_ok=True)
            self._path.rmdir()

    def _make(self) -> None:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(f"out: {self._path} cannot be made: {error.strerror}") from None

    def _take_lock(self) -> None:
        try:
            self._lock = os.open(self._path / ".lock", os.O_CREAT | os.O_RDWR, 0o666)
            lock(self._lock, str(self._path))
        except BlockingIOError:
            raise StudyError(f"out: {self._path} is in use by another process") from None
        except OSError as error:
            raise StudyError(f"out: {self._path} cannot be written: {error.strerror}") from None

    def _check_same(self, study: Path) -> None:
        if not self._resume:
            raise StudyError(f"out: {self._path} holds a study already; allowed: another folder, or --resume")
        try:
            stored = json.loads(study.read_bytes())
        except (OSError, ValueError):
            raise StudyError(f"{study}: damaged; allowed: the JSON that a study wrote") from None
        if not isinstance(stored, dict) or stored.get("schema") not in self.SCHEMAS:
            schema = stored.get("schema") if isinstance(stored, dict) else None
            raise StudyError(f"{study}: schema {schema!r}; allowed: {self.SCHEMAS[0]} to {self.SCHEMAS[-1]}")
        self.versions = stored.get("versions", self.versions)
        asked, stored = _without_names(json.loads(json.dumps(self.config))), _without_names(stored)
        for name in sorted(set(asked) | (set(stored) - set(_NOT_CONFIG))):
            if stored.get(name) != asked.get(name) and name not in MAY_CHANGE:
                field, new, old = _differing(name, asked.get(name), stored.get(name))
                raise StudyError(
                    f"{field}: {shown(new)}, but the study in {self._path} has {shown(old)}; "
                    "allowed: the options it was begun with"
                )

    def write_config(self) -> None:
        """Write ``study.json``: the configuration, its schema, and the versions at the beginning of the study.

        Raises:
            FileFormatError: it cannot be written.

        """
        about = {"schema": self.SCHEMAS[-1], "versions": self.versions}
        atomic_write(self.file("study.json"), json.dumps(self.config | about, indent=1).encode() + b"\n")

    def config_digest(self) -> str:
        """Return a digest of the configuration that may not change in a study."""
        fixed = {name: value for name, value in _without_names(self.config).items() if name not in MAY_CHANGE}
        return hashlib.sha256(canonical_json(fixed)).hexdigest()


def _without_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without names of inputs and outputs, which earlier studies lack and no number needs."""
    spec = config.get("spec")
    if not isinstance(spec, Mapping):
        return dict(config)
    return {**config, "spec": {field: value for field, value in spec.items() if field not in SIGNAL_NAMES}}


def _differing(name: str, asked: Any, stored: Any) -> tuple[str, Any, Any]:
    """Return the first field that differs, and both values: of ``spec``, such as ``spec.neurons``."""
    if isinstance(asked, dict) and isinstance(stored, dict):
        key = next(key for key in sorted(asked.keys() | stored.keys()) if asked.get(key) != stored.get(key))
        return _differing(f"{name}.{key}", asked.get(key), stored.get(key))
    return name, asked, stored
