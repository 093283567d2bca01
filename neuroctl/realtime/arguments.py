"""Checks of what callers give a loop, before anything moves."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl import checks
from neuroctl.checks import array, cast, integer, shown
from neuroctl.controller import Controller
from neuroctl.errors import LoopError, NeuroctlError
from neuroctl.quant import QuantController
from neuroctl.realtime import kernels
from neuroctl.realtime.claims import owners
from neuroctl.realtime.plant import Callbacks, Plant, Read, Safe, Steppable, Write
from neuroctl.signal_names import SIGNAL_NAMES, difference
from neuroctl.spec import Spec

MAX_DURATION_S: Final = 1e9
"""Longest duration [s], about 30 years: a longer one does not fit the clock."""
_MAX_HZ: Final = 1e5
_DEFAULT_TIMEOUT_S: Final = 0.1
_DTYPES: Final = ("float32", "float64")
Ours = TypeVar("Ours")


def number(name: str, value: Any, low: float, high: float, allowed: str) -> float:
    """Return a real number from ``low`` to ``high`` as Python's float.

    Raises:
        LoopError: it is not.

    """
    return checks.number(name, value, low, high, allowed, error=LoopError)


def duration(name: str, value: Any) -> float:
    """Return a duration in seconds, 0 or longer.

    Raises:
        LoopError: it is none.

    """
    return number(name, value, 0.0, MAX_DURATION_S, f"seconds from 0 to {MAX_DURATION_S:g}")


def flag(name: str, value: Any) -> bool:
    """Return True or False.

    Raises:
        LoopError: it is neither.

    """
    return checks.flag(name, value, error=LoopError)


def choice(name: str, value: Any, allowed: Iterable[str]) -> str:
    """Return a string that is one of those allowed.

    Raises:
        LoopError: it is none of them.

    """
    return checks.one_of(name, value, allowed, error=LoopError)


def text(name: str, value: Any) -> str:
    """Return a string, printable and not empty.

    Raises:
        LoopError: it is no such string.

    """
    if isinstance(value, str) and value and value.isprintable():  # as no lone surrogate is
        return value
    raise LoopError(f"{name}: {shown(value)}; allowed: a printable text")


def one_of_ours(name: str, value: Any, kind: type[Ours], allowed: str) -> Ours:
    """Return an object of a class of this package.

    Raises:
        LoopError: it is something else.

    """
    if isinstance(value, kind):
        return value
    raise LoopError(f"{name}: {shown(value)}; allowed: {allowed}")


def instance(name: str, value: Any, parts: Iterable[str], allowed: str) -> Any:
    """Return an object that has some methods.

    Raises:
        LoopError: it lacks one.

    """
    if isinstance(value, type) or not all(callable(getattr(value, part, None)) for part in parts):
        raise LoopError(f"{name}: {_kind(value)}; allowed: {allowed}")
    return value


def end_of_run(seconds: Any, ticks: Any, period_s: float) -> float:
    """Return the number of deadlines after which a run is over: an integer, or infinity.

    Raises:
        LoopError: an argument is not allowed.

    """
    count = math.inf
    if seconds is not None:
        allowed = f"a number greater than 0, up to {MAX_DURATION_S:g}, or None"
        number("seconds", seconds, math.nextafter(0.0, 1.0), MAX_DURATION_S, allowed)
        count = max(1, round(float(seconds) / period_s))
    if ticks is not None:
        count = min(count, integer("ticks", ticks, 1, error=LoopError))
    return count


def controller_of(controller: Any) -> Steppable:
    """Return a controller that a loop can step.

    Raises:
        LoopError: a method is missing or a coroutine function, or a field of the spec is not allowed.

    """
    spec = getattr(controller, "spec", None)
    for part in ("reset", "step"):
        if isinstance(controller, type) or spec is None or not callable(getattr(controller, part, None)):
            missing = "spec" if spec is None else part
            raise LoopError(f"controller: {_kind(controller)} without {missing}; allowed: a Controller")
    for part in ("reset", "step", "warm_up"):
        if _is_coroutine(getattr(controller, part, None)):
            raise LoopError(f"controller: {part} is a coroutine function; allowed: a plain function")
    for name in ("inputs", "outputs"):
        integer(f"controller: {name}", getattr(spec, name, None), 1, error=LoopError)
    low, high = 1.0 / _MAX_HZ, MAX_DURATION_S
    number("controller: dt_s", getattr(spec, "dt_s", None), low, high, f"{low:g} to {high:g} seconds")
    choice("controller: dtype", str(getattr(spec, "dtype", "float32")), _DTYPES)
    return controller  # type: ignore[no-any-return]


def callbacks_of(
    plant: Plant | None, read: Read | None, write: Write | None, safe: Safe | None, arm: Safe | None
) -> Callbacks:
    """Return the callbacks of a loop, from a plant or one by one.

    Raises:
        LoopError: one is missing, given twice, or cannot be called.

    """
    if plant is not None:
        if any(callback is not None for callback in (read, write, safe, arm)):
            raise LoopError("read, write, safe, arm: given beside a plant; allowed: either a plant, or read and write")
        instance("plant", plant, ("read", "write"), "an object with read(u) and write(y)")
        read, write = plant.read, plant.write
        safe, arm = getattr(plant, "safe", None), getattr(plant, "arm", None)
    if read is None or write is None:
        raise LoopError(f"{'read' if read is None else 'write'}: missing; allowed: a plant, or read and write")
    callbacks = Callbacks(read, write, safe, arm)
    for name, callback in zip(Callbacks._fields, callbacks, strict=True):
        if callback is not None and not callable(callback):
            raise LoopError(f"{name}: {shown(callback)}; allowed: a function")
        if inspect.isgeneratorfunction(callback) or inspect.isasyncgenfunction(callback):
            raise LoopError(f"{name}: a generator function, which does nothing when called; allowed: a plain function")
    return callbacks


def check_fit(controller: Steppable, plant: Plant | None, callbacks: Callbacks, any_rate: bool) -> None:
    """Refuse a plant made for another controller; so also the objects whose methods are callbacks.

    Raises:
        LoopError: sizes, time step, names of inputs or outputs, or model are not the controller's.

    """
    ours = controller.spec
    for owner in owners(plant, callbacks):
        for name in ("inputs", "outputs"):
            size, expected = getattr(owner, name, None), getattr(ours, name)
            if isinstance(size, Integral) and size != expected:
                raise LoopError(f"plant: {name}: {size}; allowed: {expected}, the controller's")
        dt_s = getattr(owner, "dt_s", None)
        if isinstance(dt_s, Real) and not any_rate and not math.isclose(dt_s, ours.dt_s, rel_tol=1e-6):
            raise LoopError(f"plant: dt_s: {dt_s:g}; allowed: {ours.dt_s:g}, the controller's, or any_rate=True")
        for name in SIGNAL_NAMES:
            _check_names(name, getattr(owner, name, ()), getattr(ours, name, ()))
        theirs = getattr(owner, "spec", None)
        if isinstance(theirs, Spec) and isinstance(ours, Spec):
            _check_spec(theirs, ours, any_rate)
        model = getattr(owner, "model_crc32", None)
        if isinstance(model, Integral):
            _check_model(int(model), owner, controller)


def _check_names(field: str, theirs: Any, ours: Any) -> None:
    if isinstance(theirs, (list, tuple)) and (differs := difference(theirs, ours)):
        index, their, our = differs
        raise LoopError(f"plant: {field}[{index}]: {their}; allowed: {our}, the controller's")


def _check_spec(theirs: Spec, ours: Spec, any_rate: bool) -> None:
    for field in dataclasses.fields(Spec):
        their, our = getattr(theirs, field.name), getattr(ours, field.name)
        if field.name in SIGNAL_NAMES:
            _check_names(field.name, their, our)
        elif their != our and not (any_rate and field.name == "dt_s"):
            raise LoopError(f"plant: {field.name}: {shown(their)}; allowed: {shown(our)}, the controller's")


def _check_model(theirs: int, plant: Any, controller: Any) -> None:
    """Compare CRC-32s. A float controller gets one by quantization in the formats of the plant's integer controller."""
    crc, q = getattr(controller, "model_crc32", None), getattr(plant, "q", None)
    if isinstance(controller, Controller) and isinstance(q, QuantController):
        crc = _crc32_of(controller, q)
    if not isinstance(crc, Integral) or crc == theirs:
        return
    named = f"{crc:08x}" if int(crc) >= 0 else "one whose parameters do not fit its formats"
    other = ", or HostDriven(link, any_model=True)" if hasattr(plant, "any_model") else ""
    text = f"plant: another model: the board runs {theirs:08x}, the controller is {named}"
    raise LoopError(f"{text}; allowed: the controller that the board runs{other}")


def _crc32_of(controller: Controller, q: QuantController) -> int:
    """Return the CRC-32 in the formats of q, in formats of its own where the parameters do not fit; -1 for neither."""
    with contextlib.suppress(NeuroctlError):
        return q.requantize(controller.theta).model_crc32
    with contextlib.suppress(NeuroctlError):
        return controller.quantize().model_crc32
    return -1


def refuse_coroutines(callbacks: Callbacks) -> None:
    """Refuse coroutine functions, which only ``run_async`` awaits.

    Raises:
        LoopError: there is one.

    """
    for name, callback in zip(Callbacks._fields, callbacks, strict=True):
        if _is_coroutine(callback):
            raise LoopError(f"{name}: a coroutine function; allowed: a plain function, or await run_async()")


def _is_coroutine(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def period_of(spec: Any, rate_hz: float | None, any_rate: bool) -> float:
    """Return the time between two deadlines [s].

    Raises:
        LoopError: the rate is not allowed.

    """
    designed_hz = 1.0 / float(spec.dt_s)
    if rate_hz is None:
        return 1.0 / designed_hz
    number("rate_hz", rate_hz, 1.0 / MAX_DURATION_S, _MAX_HZ, f"{1.0 / MAX_DURATION_S:g} to {_MAX_HZ:g}")
    if not any_rate and not math.isclose(1.0 / rate_hz, spec.dt_s, rel_tol=1e-6):
        allowed = f"{designed_hz:g}, the controller's own, or another with any_rate=True"
        raise LoopError(f"rate_hz: {rate_hz:g}; allowed: {allowed}")
    return 1.0 / float(rate_hz)


def timeout_of(watchdog_s: float | None, period_s: float, real: bool) -> float:
    """Return the watchdog's timeout [s]; infinity for none. With a clock of the caller's (not ``real``) there is none.

    Raises:
        LoopError: it is not allowed.

    """
    if watchdog_s is None:
        timeout_s = max(_DEFAULT_TIMEOUT_S, 5.0 * period_s)
    else:
        allowed = f"longer than the period of {period_s:g} s, up to {MAX_DURATION_S:g}, or inf"
        timeout_s = number("watchdog_s", watchdog_s, math.nextafter(period_s, math.inf), math.inf, allowed)
        if MAX_DURATION_S < timeout_s < math.inf:
            raise LoopError(f"watchdog_s: {watchdog_s}; allowed: {allowed}")
    return timeout_s if real else math.inf


def bounds_of(
    spec: Any, limits: ArrayLike | None, slew_per_s: ArrayLike | None, safe: ArrayLike | None, period_s: float
) -> NDArray[np.float64]:
    """Return the rows that ``kernels.guard`` takes; limits are rounded to the controller's dtype.

    Raises:
        LoopError: an argument is not allowed.

    """
    count = spec.outputs
    chosen = getattr(spec, "output_limits", None) if limits is None else limits
    pairs = _numbers("output_limits", ((-math.inf, math.inf),) * count if chosen is None else chosen, (count, 2))
    bounds = np.empty((4, count))
    with np.errstate(over="ignore"):  # beyond float32 is no limit
        bounds[kernels.LOW], bounds[kernels.HIGH] = pairs.astype(getattr(spec, "dtype", "float32")).T
    if not (bounds[kernels.LOW] < bounds[kernels.HIGH]).all():
        raise LoopError(f"output_limits: {shown(pairs.tolist())}; allowed: low < high for each of {count} outputs")
    bounds[kernels.SLEW] = period_s * _numbers("slew_per_s", math.inf if slew_per_s is None else slew_per_s, (count,))
    if not (bounds[kernels.SLEW] > 0).all():
        raise LoopError(f"slew_per_s: {shown(slew_per_s)}; allowed: greater than 0")
    zero = np.clip(np.zeros(count), bounds[kernels.LOW], bounds[kernels.HIGH])
    bounds[kernels.SAFE] = zero if safe is None else _numbers("safe_output", safe, (count,))
    inside = (bounds[kernels.LOW] <= bounds[kernels.SAFE]) & (bounds[kernels.SAFE] <= bounds[kernels.HIGH])
    if not inside.all() or not np.isfinite(bounds[kernels.SAFE]).all():
        text = shown(bounds[kernels.SAFE].tolist())
        raise LoopError(f"safe_output: {text}; allowed: finite and within the output limits")
    return bounds


def _numbers(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    allowed = f"numbers of shape {shape}"
    try:
        return np.broadcast_to(cast(array(name, value, allowed, error=LoopError), np.float64), shape)
    except ValueError as error:
        if isinstance(error, LoopError):
            raise
        raise LoopError(f"{name}: {shown(value)}; allowed: {allowed}") from None


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
