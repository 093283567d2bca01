"""Copies and pickles of objects that own arrays and compiled code."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from numpy.typing import NDArray


class Rebuilt:
    """An object whose copies share no array with it: they copy its sources, and rebuild the rest.

    A class names in ``_made_of`` the arguments of ``_build``, in order, and then its state. Each attribute that
    ``_build`` sets has a slot, so that ``__dict__`` holds only those that a subclass or a caller added, which are
    copied as usual. Slots also keep a step fast: one look at the ``__dict__`` of an object without them makes every
    later access to its attributes slower, by 150 ns a step. Nothing is checked again: a parameter that was written out
    of bounds stays.
    """

    __slots__ = ("__dict__", "__weakref__", "_state")
    _made_of: ClassVar[tuple[str, ...]]
    _state: NDArray[Any]

    def _build(self, *parts: Any) -> None:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._made_of} | self.__dict__

    def __setstate__(self, saved: dict[str, Any]) -> None:
        *parts, state = (copy.deepcopy(saved[name]) for name in self._made_of)
        self._build(*parts)
        self._state[:] = state
        if added := {name: value for name, value in saved.items() if name not in self._made_of}:
            self.__dict__.update(added)
