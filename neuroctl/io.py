"""Files: ``.npz`` archives with a JSON header, a schema version and a hash; never a pickle, never half-written."""

from __future__ import annotations

import contextlib
import copy
import errno
import hashlib
import io
import json
import os
import stat
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import layout
from neuroctl.checks import shown
from neuroctl.controller_inputs import sequence
from neuroctl.errors import FileFormatError, NeuroctlError
from neuroctl.machine import sync_folder
from neuroctl.spec import Spec

SCHEMA: Final = 1
_FORMAT: Final = "neuroctl"
_ZIP: Final = b"PK"
LOAD_ERRORS: Final = (
    OSError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    OverflowError,
)
"""Possible errors of NumPy when it reads a damaged file."""


@dataclass(frozen=True)
class Archive:
    """Contents of a neuroctl ``.npz`` file: kind, header fields, arrays, and the SHA-256 of all of them.

    Example:
        >>> from neuroctl import Controller, Spec
        >>> Controller(Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.02)).save("elman.npz")
        >>> archive = read_archive("elman.npz")
        >>> archive.kind, archive.arrays["theta"].shape
        ('controller', (11,))

    """

    kind: str
    fields: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    sha256: str


@dataclass(frozen=True)
class Model:
    """Contents of a controller file.

    Args:
        spec: the controller's spec.
        theta: parameters ``[n_params]`` in the spec's dtype.
        meta: notes of plain JSON types.
        calibration: recorded inputs ``[T, inputs]`` in physical units; None if there are none.

    Example:
        >>> from neuroctl import Controller, Spec
        >>> ctl = Controller(Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.02))
        >>> ctl.save("elman.npz", meta={"robot": "arm"})
        >>> model = model_of(read_archive("elman.npz"), "elman.npz")
        >>> model.meta["robot"], bool((model.theta == ctl.theta).all())
        ('arm', True)

    """

    spec: Spec
    theta: NDArray[Any]
    meta: dict[str, Any] = field(default_factory=dict)
    calibration: NDArray[Any] | None = None


def file_name(path: object) -> str:
    """Return a path (str, bytes or path-like) as a string.

    Raises:
        FileFormatError: ``path`` has another type, such as an open file.

    """
    try:
        return os.fsdecode(path)  # type: ignore[arg-type]  # it refuses everything else
    except TypeError:
        raise FileFormatError(f"path: {type(path).__name__}; allowed: a str or an os.PathLike") from None


def output_file(path: str | os.PathLike[str]) -> Path:
    """Resolve symbolic links and return the path of a regular file, existing or new.

    Every writer calls this first. Replacing a device, FIFO or socket would remove it for the whole system, and
    replacing a link would leave the file behind it unchanged.

    Raises:
        FileFormatError: the path is that of something other than a regular file.

    """
    name = file_name(path)
    try:
        target = Path(os.path.realpath(name))
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return target
    except (OSError, ValueError) as error:  # a ValueError: no file can have this name
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise FileFormatError(f"{name!r}: cannot be written: {reason}") from None
    if not stat.S_ISREG(mode):
        raise FileFormatError(f"{name}: is {_kind(mode)}; allowed: a regular file, or a new name")
    return target


def check_writable(name: str, path: str | os.PathLike[str], suffix: str = "") -> None:
    """Check that a file can be written, before the work on its contents begins.

    Args:
        name: name of the option or argument, for the message.
        path: the file.
        suffix: required end of its name, such as ``".png"``; empty for any.

    Raises:
        FileFormatError: the name has another suffix, its folder is missing or not writable, or the path is not that of
            a regular file.

    """
    text = file_name(path)
    if suffix and Path(text).suffix.lower() != suffix:
        raise FileFormatError(f"{name}: {text!r}; allowed: a name that ends in {suffix}")
    _check_folder(name, text, output_file(text).parent)


def check_folder(name: str, path: str | os.PathLike[str]) -> None:
    """Check that a folder can be created and written to, before the work on its contents begins.

    Args:
        name: name of the option or argument, for the message.
        path: the folder.

    Raises:
        FileFormatError: the path, or its nearest existing parent, is not a folder or not writable.

    """
    text = file_name(path)
    place = Path(os.path.abspath(text))
    _check_folder(name, text, next(part for part in (place, *place.parents) if os.path.lexists(part)))


def _check_folder(name: str, text: str, folder: Path) -> None:
    reason = "" if os.access(folder, os.W_OK | os.X_OK) else os.strerror(errno.EACCES)
    if not folder.is_dir():
        reason = f"{folder} is {'no folder' if os.path.lexists(folder) else 'missing'}"
    if reason:
        raise FileFormatError(f"{name}: {text!r}: cannot be written: {reason}; allowed: a folder that can be written")


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a symbolic link that leads back to itself",
    }  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "no regular file")


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file atomically: even after a crash, readers find the complete old or the complete new content.

    A symbolic link remains, and its target is replaced.

    Raises:
        FileFormatError: the folder is missing or not writable, the disk is full, or the path is not that of a regular
            file. The old file is intact.

    """
    target = output_file(path)
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
        sync_folder(target.parent)
    except BaseException as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):
            raise FileFormatError(f"{file_name(path)}: cannot be written: {error.strerror or error}") from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def canonical_json(data: object) -> bytes:
    """Return data as JSON with sorted keys and no spaces, so that equal data gives equal bytes."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _digest(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    content = hashlib.sha256(canonical_json(header))
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        content.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        content.update(array.tobytes())
    return content.hexdigest()


def _check_keys(data: object) -> None:
    """Refuse keys that are no strings: JSON would convert them to strings, which sort in another order.

    Raises:
        TypeError: there is one.

    """
    if isinstance(data, Mapping):
        for key, value in data.items():
            if not isinstance(key, str):
                raise TypeError(f"key {shown(key)} is {type(key).__name__} and not str")
            _check_keys(value)
    elif isinstance(data, (list, tuple)):
        for value in data:
            _check_keys(value)


def _check_plain(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuse arrays of Python objects: NumPy would write them as pickles.

    Raises:
        TypeError: there is one.

    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"array {name!r} holds Python objects")


def write_archive(
    path: str | os.PathLike[str], kind: str, fields: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write an archive atomically; equal content gives equal bytes.

    Args:
        path: the file; an existing one is replaced.
        kind: kind of archive, such as ``"controller"``.
        fields: header fields of plain JSON types, finite numbers.
        arrays: arrays by name, none of Python objects.

    Raises:
        FileFormatError: a field or an array is not allowed, or the file cannot be written.

    """
    header: dict[str, Any] = {"format": _FORMAT, "schema": SCHEMA, "kind": kind, "fields": dict(fields)}
    try:
        header["sha256"] = _digest(header, arrays)
        _check_keys(header)
        _check_plain(arrays)
    except (TypeError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{file_name(path)}: {error}; allowed: plain JSON types, finite numbers") from None
    buffer = io.BytesIO()
    # The header comes first and is readable text: `unzip -p FILE header.npy`. NumPy before 2.2 takes every keyword for
    # the name of an array, ``allow_pickle`` too.
    contents: dict[str, Any] = {"header": np.frombuffer(canonical_json(header), dtype=np.uint8), **arrays}
    np.savez(buffer, **contents)
    atomic_write(path, buffer.getvalue())


def read_archive(path: str | os.PathLike[str]) -> Archive:
    """Read an archive and check its hash. Object arrays (pickles) are refused, so no code in the file runs.

    Raises:
        FileFormatError: the file is missing, truncated, damaged, foreign, of a newer schema, or holds a pickle.

    """
    name = file_name(path)
    try:
        with open(name, "rb") as file:
            content = file.read(len(_ZIP))
            if content == _ZIP:  # otherwise it may be an endless device
                content += file.read()
    except FileNotFoundError:
        raise FileFormatError(f"{name}: no such file") from None
    except OSError as error:
        raise FileFormatError(f"{name}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # no file can have this name
        raise FileFormatError(f"{name!r}: cannot be read: {error}") from None
    return _checked(name, _arrays_of(name, content))


def _arrays_of(name: str, content: bytes) -> dict[str, NDArray[Any]]:
    if not content.startswith(_ZIP):
        raise FileFormatError(f"{name}: a foreign file; allowed: an .npz file written by neuroctl")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as data:
            return {key: data[key] for key in data.files if isinstance(data[key], np.ndarray)}
    except ValueError as error:
        reason = "holds a pickle, which is refused" if "pickle" in str(error).lower() else "not a whole .npz file"
        raise FileFormatError(f"{name}: {reason}") from None
    except LOAD_ERRORS as error:
        raise FileFormatError(f"{name}: damaged: {_one_line(error)}") from None


def _checked(name: str, arrays: dict[str, NDArray[Any]]) -> Archive:
    raw = arrays.pop("header", None)
    try:
        header = json.loads(raw.tobytes()) if raw is not None and raw.dtype == np.uint8 else None
    except (ValueError, RecursionError):
        raise FileFormatError(f"{name}: damaged: its header is not JSON") from None
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise FileFormatError(f"{name}: a foreign file; allowed: an .npz file written by neuroctl")
    schema = header.get("schema")
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise FileFormatError(f"{name}: schema {shown(schema)}; allowed: 1 to {SCHEMA}; a newer neuroctl may read it")
    stored = header.pop("sha256", None)
    try:
        digest = _digest(header, arrays)
    except (ValueError, RecursionError) as error:  # NaN and Inf, which JSON does not have
        raise FileFormatError(f"{name}: damaged: its header: {_one_line(error)}") from None
    if stored != digest:
        raise FileFormatError(f"{name}: damaged: its content does not match its hash")
    return Archive(str(header.get("kind")), json_object(header, "fields", name), arrays, str(stored))


def json_object(data: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
    """Return the JSON object under a key; an empty one if there is none."""
    value = data.get(key)
    if value is not None and not isinstance(value, dict):
        raise FileFormatError(f"{name}: {key}: {shown(value)}; allowed: a JSON object")
    return dict(value or {})


def notes_of(archive: Archive, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the notes ``meta`` in the archive of a controller; ``path`` is for error messages.

    Raises:
        FileFormatError: the notes are not a JSON object.

    """
    return json_object(archive.fields, "meta", file_name(path))


def notes_from(meta: Mapping[str, Any] | None, path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Return a copy of the notes that a caller gives to a file, or to a controller; ``path`` is for error messages.

    Raises:
        FileFormatError: they are no mapping of strings to plain JSON types.

    """
    if meta is not None and not isinstance(meta, Mapping):
        raise FileFormatError(f"{_where(path)}meta: {shown(meta)}; allowed: a mapping of names to JSON types")
    notes = dict(meta or {})
    try:
        canonical_json(notes)
        _check_keys(notes)
    except (TypeError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{_where(path)}meta: {error}; allowed: plain JSON types, finite numbers") from None
    return copy.deepcopy(notes)


def _where(path: str | os.PathLike[str] | None) -> str:
    return "" if path is None else f"{file_name(path)}: "


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def expect_kind(archive: Archive, kind: str, path: str | os.PathLike[str]) -> None:
    """Check the kind of an archive; ``path`` is for error messages.

    Raises:
        FileFormatError: the archive is of another kind.

    """
    if archive.kind != kind:
        raise FileFormatError(f"{file_name(path)}: holds {with_article(archive.kind)}; allowed: {with_article(kind)}")


def with_article(kind: str) -> str:
    """Return the kind of a file in quotes, after "a" or "an"."""
    return f"{'an' if kind.startswith(tuple('aeiou')) else 'a'} {kind!r}"


def save_model(
    path: str | os.PathLike[str],
    spec: Spec,
    theta: NDArray[Any],
    *,
    meta: Mapping[str, Any] | None = None,
    calibration: NDArray[Any] | None = None,
) -> None:
    """Write a controller file.

    Args:
        path: the file; an existing one is replaced atomically.
        spec: the controller's spec.
        theta: its parameters ``[n_params]``.
        meta: notes of plain JSON types, such as the task and the seed.
        calibration: recorded inputs ``[T, inputs]`` in physical units, for choosing fixed-point formats.

    Raises:
        FileFormatError: ``meta`` is not allowed, or the file cannot be written.
        LayoutError: theta or calibration does not fit the spec.

    """
    notes = notes_from(meta, path)
    arrays = {"theta": layout(spec).coerce(theta, spec.dtype)}
    if calibration is not None:
        arrays["calibration"] = sequence(calibration, spec.dtype, spec.inputs, "calibration")
    write_archive(path, "controller", {"spec": spec.to_dict(), "meta": notes}, arrays)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a controller file.

    Raises:
        FileFormatError: the file is missing, incomplete, damaged or not a controller file.

    """
    archive = read_archive(path)
    expect_kind(archive, "controller", path)
    return model_of(archive, path)


def model_of(archive: Archive, path: str | os.PathLike[str]) -> Model:
    """Return the ``Model`` in a controller's archive; ``path`` is for error messages. The kind is not checked.

    Raises:
        FileFormatError: a field or an array is missing or not allowed.

    """
    try:
        spec = Spec.from_dict(archive.fields["spec"])
        theta = layout(spec).coerce(archive.arrays["theta"], spec.dtype)
    except KeyError as error:
        raise FileFormatError(f"{file_name(path)}: {error.args[0]} is missing") from None
    except NeuroctlError as error:
        raise FileFormatError(f"{file_name(path)}: {error}") from None
    return Model(spec, theta, notes_of(archive, path), archive.arrays.get("calibration"))
