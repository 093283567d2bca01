"""The folder of an export: the origin of its files, and replacing them all or none."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from neuroctl.errors import ExportError
from neuroctl.io import canonical_json
from neuroctl.machine import sync_folder

_FORMAT: Final = "neuroctl-export"
_PARTIAL: Final = ".partial"


def manifest(fields: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """Return the manifest's bytes: the fields, and the hash of each file."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return canonical_json({"format": _FORMAT, "schema": 1, **fields, "files": hashes}) + b"\n"


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Return the manifest in a file, or None if the file is missing or no manifest."""
    try:
        data = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError):
        return None
    is_manifest = isinstance(data, dict) and data.get("format") == _FORMAT and isinstance(data.get("files"), dict)
    return data if is_manifest else None


def edited(folder: Path, data: Mapping[str, Any]) -> list[str]:
    """Return the files in the folder whose hashes differ from the manifest's."""
    changed = []
    for name, digest in sorted(data["files"].items()):
        path = folder / name
        inside = not os.path.isabs(name) and ".." not in Path(name).parts
        if inside and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            changed.append(name)
    return changed


def check_free(folder: Path, name: str, exported: frozenset[str]) -> None:
    """Refuse a folder that holds anything but an untouched earlier export of the same name.

    Raises:
        ExportError: names the first file in the way.

    """
    try:
        present = {entry for entry in _files(folder) if not _is_partial(entry, name)}
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ExportError(f"out_dir: {folder}: {_reason(error)}; allowed: a folder") from None
    if others := sorted(present - exported):
        raise ExportError(
            f"out_dir: {folder} holds {others[0]!r}; allowed: an empty folder, or one that holds an earlier export "
            f"of {name!r} alone; force writes beside other files"
        )
    data = read_manifest(folder / f"{name}.json")
    if data is None and present:
        raise ExportError(f"out_dir: {folder} holds {min(present)!r}, which is no export of ours; force replaces it")
    if data is not None and (changed := edited(folder, data)):
        raise ExportError(f"out_dir: {changed[0]} was edited since it was exported; force replaces it")


def _files(folder: Path) -> list[str]:
    """Return the relative names of all files below a folder; an empty folder counts as a file."""
    names = []
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            inner = _files(Path(entry.path))
            names += [f"{entry.name}/{name}" for name in inner] or [entry.name]
        else:
            names.append(entry.name)
    return names


def replace_all(folder: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Write files so that a failure at any point leaves the earlier ones whole.

    All content is written and synced under temporary names first: a full disk, an interrupt or a crash then does no
    harm. Then each file is renamed into place, the manifest last. A failure between two renames is undone; after a
    power cut there the hashes do not match the manifest, which the next export and ``verify`` report.
    The folder itself is not swapped: it may be a working directory, a link or a mount point. Inside it only regular
    files and folders are followed or replaced, so that nothing is written outside.

    Raises:
        ExportError: the folder cannot be created or written, or a link, device or FIFO has a file's name.

    """
    _check_places(folder, files)
    created = _missing(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _staged(folder, name, files) as staged:
            _rename(folder, staged)
    except (OSError, ValueError) as error:
        _remove_empty(created)
        raise ExportError(f"out_dir: {folder}: {_reason(error)}; allowed: a folder that can be written") from None
    except BaseException:
        _remove_empty(created)
        raise


def _check_places(folder: Path, files: Iterable[str]) -> None:
    """Refuse to replace anything but regular files, and to write through a linked folder."""
    for file in map(Path, files):
        _check_kind(folder / file, stat.S_ISREG, "file")
        for parent in list(file.parents)[:-1]:
            _check_kind(folder / parent, stat.S_ISDIR, "folder")


def _check_kind(place: Path, wanted: Callable[[int], bool], kind: str) -> None:
    try:
        mode = place.lstat().st_mode
    except (OSError, ValueError):  # no such file; other errors appear when it is written
        return
    if not wanted(mode):
        raise ExportError(f"out_dir: {place} is in the way; allowed there: a regular {kind}, or nothing")


def _reason(error: Exception) -> str:
    return str((error.strerror if isinstance(error, OSError) else None) or error)


def _missing(folder: Path) -> list[Path]:
    """Return the folders that do not exist yet, innermost first."""
    return [path for path in (folder, *folder.parents) if not os.path.lexists(path)]


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):
            folder.rmdir()


def _is_partial(entry: str, name: str) -> bool:
    return entry.startswith(f".{name}.") and entry.endswith(_PARTIAL)


@contextlib.contextmanager
def _staged(folder: Path, name: str, files: Mapping[str, bytes]) -> Iterator[dict[str, Path]]:
    """Write each file under a temporary name in the folder; remove the remaining ones at the end."""
    for entry in os.listdir(folder):
        if _is_partial(entry, name):  # of an export that was killed
            os.unlink(folder / entry)
    staged: dict[str, Path] = {}
    try:
        for file, content in files.items():
            staged[file] = folder / f".{name}.{file.replace('/', '-')}{_PARTIAL}"
            _write(staged[file], content)
        yield staged
    finally:
        for path in staged.values():
            with contextlib.suppress(OSError):
                path.unlink()


def _write(path: Path, content: bytes) -> None:
    # Created with mode 0666, so that the umask applies as to any other file.
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _rename(folder: Path, staged: Mapping[str, Path]) -> None:
    old = {file: (folder / file).read_bytes() if (folder / file).exists() else None for file in staged}
    done: list[str] = []
    try:
        for file, path in staged.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            done.append(file)
            os.replace(path, folder / file)
        sync_folder(folder)
    except BaseException:
        for file in done:
            content = old[file]
            with contextlib.suppress(OSError):
                if content is None:
                    (folder / file).unlink(missing_ok=True)
                else:
                    (folder / file).write_bytes(content)
        for file in staged:
            _remove_empty([folder / parent for parent in Path(file).parents if parent != Path()])
        raise
