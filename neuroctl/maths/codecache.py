"""Numba's cache of compiled code as a mere convenience: whatever is wrong with it, code is compiled anew and runs.

Files are private to the user, end with a hash of their content, and are read if they belong to this user or to root.
One warning a process says why code is compiled anew.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import math
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import Any, Final

import numba

from neuroctl.errors import FileFormatError, warn

caching: Any = import_module("numba.core.caching")  # names in it differ between Numba's versions
config: Any = import_module("numba.core.config")  # its names are made when it is imported

_HASH_BYTES: Final = hashlib.sha256().digest_size
_PATIENCE_S: Final = 1.0
_told = False
_must_store = False
_holding = False


def tell(reason: object) -> None:
    """Warn, once a process, that code is compiled anew."""
    global _told
    if not _told:
        _told = True
        text = " ".join(str(reason).split())
        message = f"the cache of compiled code: {text}; it is compiled anew, see NUMBA_CACHE_DIR"
        warn(message, RuntimeWarning)


@contextlib.contextmanager
def must_store() -> Iterator[None]:
    """Refuse, in the block, to compile what cannot be stored.

    Raises:
        FileFormatError: compiled code could not be stored; says why.

    """
    global _must_store
    _must_store = True
    try:
        yield
    finally:
        _must_store = False


def not_stored(reason: object) -> None:
    """Warn that code is compiled anew in each process, or refuse that in a block of ``must_store``."""
    if _must_store:
        text = " ".join(str(reason).split())
        allowed = "NUMBA_CACHE_DIR with a folder that this user may write to"
        raise FileFormatError(f"the cache of compiled code: {text}; allowed: {allowed}") from None
    tell(reason)


class Compiling:
    """How long this process has compiled, and who is told once that takes longer than a second.

    Code that comes from the cache is not counted. What compiles calls ``during``, and the cache ``missed``.
    """

    def __init__(self) -> None:
        self.tell: Callable[[], object] | None = None
        """Called once, as soon as it is known that compilation takes longer than a second."""
        self._depth, self._spent_s, self._since = 0, 0.0, math.inf

    @contextlib.contextmanager
    def during(self) -> Iterator[None]:
        """Count the block, from where the cache is first missed to the end of the outermost one."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth and self._since < math.inf:
                self._look()
                self._spent_s += time.perf_counter() - self._since
                self._since = math.inf

    def missed(self) -> None:
        """Note that code has to be compiled."""
        self._since = min(self._since, time.perf_counter())
        self._look()

    def _look(self) -> None:
        if self.tell is not None and self._spent_s + time.perf_counter() - self._since > _PATIENCE_S:
            tell, self.tell = self.tell, None
            tell()


compiling: Final = Compiling()


def own_content(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file that belongs to this user or to root.

    Raises:
        OSError: it cannot be read, or belongs to another user.

    """
    with open(path, "rb") as file:
        owner = os.fstat(file.fileno()).st_uid
        if hasattr(os, "geteuid") and owner not in (0, os.geteuid()):
            raise PermissionError(f"{path} belongs to another user")
        return file.read()


def write_private(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file that only this user may read, whole or not at all.

    Raises:
        OSError: it cannot be written.

    """
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


class _Files(caching.IndexDataCacheFile):  # type: ignore[misc]
    """A function's index and data, which other processes, of other versions too, may read and write at the same time.

    Each file ends with a hash of what its code was made of, and with one of all that. Numba's own index names data that
    is not written yet, under numbers that another process may give to other data.
    """

    def __init__(self, folder: str, base: str, stamp: object) -> None:
        super().__init__(folder, base, stamp)
        self._base, self._made_of = base, hashlib.sha256(repr(stamp).encode()).digest()

    def save(self, key: object, data: object) -> None:
        """Write the code of a signature, then the index, which names it."""
        overloads = self._load_index()
        name = f"{self._base}.{hashlib.sha256(self._dump(key)).hexdigest()[:16]}.nbc"
        if not overloads:
            self._remove_others()
        self._save_data(name, data)
        self._save_index(overloads | {key: name})

    def _remove_others(self) -> None:
        """Remove what earlier versions have left of this function."""
        for path in Path(self._cache_path).glob(f"{glob.escape(self._base)}.*.nbc"):
            with contextlib.suppress(OSError):
                if self._made_of not in own_content(path)[-2 * _HASH_BYTES :]:
                    path.unlink()

    def _load_index(self) -> Any:
        with contextlib.suppress(FileNotFoundError):
            try:
                self._check(self._index_path)
                return super()._load_index()
            except FileNotFoundError:
                raise
            except Exception as error:
                tell(error)
        return {}

    def _load_data(self, name: str) -> Any:
        self._check(self._data_path(name))
        return super()._load_data(name)

    def _check(self, path: str) -> None:
        content = own_content(path)
        if hashlib.sha256(content[:-_HASH_BYTES]).digest() != content[-_HASH_BYTES:]:
            raise ValueError(f"{path} is damaged")
        if content[-2 * _HASH_BYTES : -_HASH_BYTES] != self._made_of:
            raise FileNotFoundError(f"{path} was made of other sources")

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[BytesIO]:
        buffer = BytesIO()
        yield buffer
        content = buffer.getvalue() + self._made_of
        write_private(filepath, content + hashlib.sha256(content).digest())


class _Readable:
    """Takes a cache folder that is there but cannot be written, as in a container whose image was filled."""

    def ensure_cache_path(self) -> None:
        if not os.path.isdir(self.get_cache_path()):  # type: ignore[attr-defined]
            raise OSError("no such folder")


def _located() -> list[type]:
    """Return Numba's ways to find a folder; those that can only be read come last, or second for NUMBA_CACHE_DIR."""
    provided, *others = caching.CompileResultCacheImpl._locator_classes
    readable = [type(f"Readable{kind.__name__}", (_Readable, kind), {}) for kind in (provided, *others[:2])]
    return [provided, readable[0], *others, *readable[1:]]


class _Impl(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = _located()


@cache
def sources() -> str:
    """Return a hash of all that compiled code may be made of: Numba looks at a function's own file, at no callee's."""
    digest = hashlib.sha256(numba.__version__.encode())
    package = Path(__file__).resolve().parent.parent
    for folder in ("maths", "cells", "backends", "train"):
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


class CodeCache(caching.FunctionCache):  # type: ignore[misc]
    """One function's cache; where there is no place for files, everything is compiled in each process."""

    _impl_class = _Impl

    def __init__(self, function: Callable[..., Any]):
        self._problem = ""
        try:
            super().__init__(function)
        except (RuntimeError, OSError) as error:
            self._problem, self._cache_path = str(error), None
            self.disable()
            return
        # Apart from files that Numba alone wrote, and code without bounds checks from code with them.
        base = f"{self._impl.filename_base}.{'checked' if config.BOUNDSCHECK else 'hashed'}"
        stamp = (self._impl.locator.get_source_stamp(), sources())
        self._cache_file = _Files(str(self._cache_path), base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled code of a signature, or None: compile it."""
        code = self._loaded(sig, target_context)
        if code is None:
            compiling.missed()
        return code

    def _loaded(self, sig: Any, target_context: Any) -> Any:
        if self._problem:
            not_stored(self._problem)
            return None
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:
            tell(error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code if that is possible."""
        if self._problem:
            return
        try:
            super().save_overload(sig, data)
        except Exception as error:
            not_stored(error)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the outermost block is done; a second one comes through at once.

    An exception in the middle of a compilation, which a handler would raise, leaves Numba in a state in which it stays
    broken, or is lost in a callback.
    """
    global _holding
    before: dict[int, Any] = {}
    pending: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        if number in pending:
            before[number](number, frame)
        pending.append(number)

    outermost = not _holding and threading.current_thread() is threading.main_thread()
    if outermost:  # Python handles signals in the main thread only
        _holding = True
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    held = [number for number, handler in before.items() if callable(handler)]
    for number in held:
        signal.signal(number, hold)
    try:
        yield
    finally:
        _holding = _holding and not outermost
        for number in held:
            signal.signal(number, before[number])
        for number in pending[:1]:
            signal.raise_signal(number)
