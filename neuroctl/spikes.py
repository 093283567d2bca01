"""Spike trains in, currents out: exponential synaptic traces, to drive a controller's inputs.

    tau dI/dt = -I,     I += weight at each spike

P. Dayan and L. F. Abbott, "Theoretical Neuroscience" (2001), section 5.8 (the single-exponential synapse).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroctl.checks import array, integer, real
from neuroctl.errors import LayoutError

Array = NDArray[Any]


class SynapticTraces:
    """Currents of several inputs, each an exponential trace of its spikes.

    Args:
        inputs: number of inputs.
        dt_s: time between two steps, in seconds.
        tau_s: time constant of the decay in seconds, one for all or ``[inputs]``.
        weight: addition of a spike, one for all or ``[inputs]``; ``1 / tau_s`` gives each spike unit area.
        dtype: dtype of the currents, the controller's.

    Raises:
        LayoutError: a number is out of range or a shape does not fit.

    Example:
        >>> traces = SynapticTraces(2, dt_s=0.001, tau_s=0.005)
        >>> float(traces.step([1, 0])[0])
        1.0

    """

    def __init__(self, inputs: int, *, dt_s: float, tau_s: ArrayLike, weight: ArrayLike = 1.0, dtype: str = "float32"):
        inputs = integer("inputs", inputs, 1, error=LayoutError)
        self._tau = _each("tau_s", tau_s, inputs)
        self._weight = _each("weight", weight, inputs)
        if not (0 < real(dt_s) < np.inf and (self._tau > 0).all()):
            raise LayoutError(f"dt_s, tau_s: {dt_s!r}, {self._tau.tolist()}; allowed: seconds, greater than 0")
        self.dt_s = float(dt_s)
        self._decay = np.exp(-self.dt_s / self._tau)
        self._exact = np.zeros(inputs)
        self._current = np.zeros(inputs, dtype)

    def __copy__(self) -> Self:
        """Return an independent copy."""
        return copy.deepcopy(self)

    @property
    def current(self) -> Array:
        """The currents ``[inputs]``, ready for ``Controller.step``: the object's own buffer."""
        return self._current

    def reset(self) -> None:
        """Forget all spikes."""
        self._exact[:] = 0.0
        self._current[:] = 0.0

    def step(self, spikes: ArrayLike) -> Array:
        """Decay for one time step, then add its spikes.

        Args:
            spikes: 0 or 1, or counts, ``[inputs]``.

        Returns:
            ``current``.

        """
        counts = array("spikes", spikes, f"counts of shape {self._exact.shape}")
        if counts.shape != self._exact.shape:
            raise LayoutError(f"spikes: shape {counts.shape}; allowed: {self._exact.shape}")
        self._exact *= self._decay
        self._exact += self._weight * counts
        self._current[:] = self._exact
        return self._current

    def train(self, spikes: ArrayLike) -> Array:
        """Step through trains of 0 and 1, or counts, ``[T, inputs]``; returns the currents ``[T, inputs]``."""
        counts = array("spikes", spikes, f"counts of shape (T, {len(self._exact)})")
        if counts.ndim != 2 or counts.shape[1] != len(self._exact):
            raise LayoutError(f"spikes: shape {counts.shape}; allowed: (T, {len(self._exact)})")
        return np.array([self.step(row).copy() for row in counts], self._current.dtype).reshape(counts.shape)

    def times(self, spike_times_s: Sequence[ArrayLike], steps: int) -> Array:
        """Step through spikes given by their times, exact within a step.

        Args:
            spike_times_s: for each input its spike times in seconds from now, in any order, from 0 to steps * dt_s. A
                spike shows at the end of its step, decayed over the rest of that step.
            steps: number of steps.

        Returns:
            Currents at the end of each step, ``[steps, inputs]``.

        """
        if len(spike_times_s) != len(self._exact):
            raise LayoutError(f"spike_times_s: {len(spike_times_s)} trains; allowed: {len(self._exact)}")
        arrived = np.zeros((steps, len(self._exact)))
        for k, train in enumerate(spike_times_s):
            at = np.asarray(array(f"spike_times_s[{k}]", train, "times in seconds"), np.float64).ravel()
            if not ((at >= 0) & (at < steps * self.dt_s)).all():
                raise LayoutError(
                    f"spike_times_s[{k}]: {at.tolist()}; allowed: 0 to {steps * self.dt_s:g} s, exclusive"
                )
            index = np.minimum((at / self.dt_s).astype(np.int64), steps - 1)
            left = (index + 1) * self.dt_s - at
            np.add.at(arrived[:, k], index, np.exp(-left / self._tau[k]))
        return self.train(arrived)


def _each(name: str, value: ArrayLike, count: int) -> NDArray[np.float64]:
    numbers = np.asarray(array(name, value, f"one finite number or {count}"), np.float64)
    if numbers.shape not in ((), (count,)) or not np.isfinite(numbers).all():
        raise LayoutError(f"{name}: shape {numbers.shape}; allowed: one finite number or {count}")
    return np.broadcast_to(numbers, count).copy()
