"""Exclusive use of controller, plant and board by one running loop. Two that drive one motor would fight."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, ClassVar

from neuroctl.errors import LinkError, LoopError
from neuroctl.realtime.plant import Callbacks, Steppable

Key = tuple[int, str]
"""An object's id, and the name of one of its methods."""


def alone(controller: Steppable, plant: Any, callbacks: Callbacks) -> Iterator[tuple[Key, str, str]]:
    """Yield the key, the kind and a text of each resource that only one running loop may use.

    One object may have callbacks for several arms, so a plant is identified by its ``write`` method. A plain
    function has no object by which its motors could be identified.
    """
    yield (id(controller), ""), "controller", "it"
    owner = owner_of(callbacks.write)
    if owner is not None:
        yield (id(owner), getattr(callbacks.write, "__name__", "")), "plant", "it"
    elif plant is not None:
        yield (id(plant), "write"), "plant", "it"
    for part in (controller, *owners(plant, callbacks)):
        link = getattr(part, "link", None)
        if isinstance(port := getattr(link, "port", None), str):
            yield (id(link), ""), "board", port


def refuse_used_link(parts: Iterable[Any]) -> None:
    """Make sure that the board of a controller or plant is not run by an object outside the loop.

    Raises:
        LoopError: it is; nothing was sent to it.

    """
    for part in parts:
        refuse = getattr(getattr(part, "link", None), "refuse_second", None)
        try:
            if callable(refuse):
                refuse(part)
        except LinkError as error:
            raise LoopError(str(error)) from None


def owners(plant: Any, callbacks: Callbacks) -> list[Any]:
    """Return the plant, and the objects whose methods the callbacks are, each once."""
    candidates = [plant, *map(owner_of, callbacks)]
    return list({id(owner): owner for owner in candidates if owner is not None}.values())


def owner_of(callback: Any) -> Any:
    """Return the object whose method a callback is; None if it is a plain function."""
    owner = getattr(callback, "__self__", None)
    return None if isinstance(owner, ModuleType) else owner


class Claim:
    """The resources of one run of a loop until ``release``. Process-wide, and lock-free as a fork could keep a lock.

    Args:
        name: of the loop, for the message to another one.
        parts: key, kind and text of each resource.

    Raises:
        LoopError: another running loop uses one of them.

    """

    _holders: ClassVar[dict[tuple[int, Key], Claim]] = {}

    def __init__(self, name: str, parts: Iterable[tuple[Key, str, str]]):
        self._name = name
        self._keys: list[tuple[int, Key]] = []
        process = os.getpid()  # a child that was forked meanwhile has this table, but none of these loops
        for key, part, text in parts:
            holder = self._holders.setdefault((process, key), self)
            if holder is not self:
                self.release()
                using = f"the running loop {holder._name!r} is using {text}"
                raise LoopError(f"{part}: {using}; allowed: a {part} of its own for each loop")
            self._keys.append((process, key))

    def release(self) -> None:
        """Let other loops use the resources."""
        while self._keys:
            self._holders.pop(self._keys.pop(), None)
