"""Controller: one recurrent network with its parameters, state and buffers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike, NDArray

from neuroctl import io
from neuroctl.cells import cell_of, initial, initial_blocks, start_state, step_floats, step_ints
from neuroctl.controller_inputs import accepted, sequence
from neuroctl.copying import Rebuilt
from neuroctl.dynamics import max_stable_dt
from neuroctl.errors import StabilityWarning, warn
from neuroctl.maths.jit import compiled_for
from neuroctl.quant import QuantController, quantize
from neuroctl.spec import Spec

Array = NDArray[Any]


class Controller(Rebuilt):
    """A float controller. It owns its arrays; ``step`` allocates nothing after construction.

    Args:
        spec: topology and time base.
        theta: parameters ``[n_params]``, copied and cast to the spec's dtype; None: a random network.
        seed: seed of the random network, an integer >= 0.
        meta: notes of plain JSON types, such as the task and the seed; they go into files, firmware and manifests.

    ``copy.copy``, ``copy.deepcopy`` and ``pickle`` make an independent controller with equal parameters and state.

    Raises:
        SpecError: spec is no Spec, or seed is no integer >= 0.
        LayoutError: theta has the wrong length, holds NaN or Inf, or is out of a block's bounds.
        FileFormatError: meta is no mapping.

    Warns:
        StabilityWarning: a CTRNN's dt_s is above ``neuroctl.dynamics.max_stable_dt`` for the given theta.

    Example:
        >>> ctl = Controller(Spec(cell="ctrnn", inputs=1, neurons=2, outputs=1, dt_s=0.01))
        >>> ctl
        <Controller ctrnn: 1 input, 2 neurons, 1 output, dt_s 0.01, 15 parameters, float32>
        >>> ctl.step(np.zeros(1, np.float32)).shape
        (1,)

    """

    __slots__ = (
        "_spec", "layout", "state_layout", "_theta", "_params", "_dtype", "_start", "_u", "_y", "_spare_state",
        "_spare_y", "_ints", "_floats", "_rollout", "_fault", "_step", "_own_theta", "_own_state", "_own_y",
        "_learned", "_meta",
    )  # fmt: skip
    _made_of = ("_spec", "_theta", "_meta", "_state")

    def __init__(
        self, spec: Spec, theta: ArrayLike | None = None, seed: int = 0, *, meta: Mapping[str, Any] | None = None
    ):
        layout = cell_of(spec).layout(spec)
        flat = initial(spec, seed) if theta is None else layout.coerce(theta, spec.dtype)
        if theta is not None and spec.cell == "ctrnn":
            _warn_above_stable_dt(spec, flat)
        self._build(spec, flat, io.notes_from(meta))

    def _build(self, spec: Spec, theta: Array, meta: dict[str, Any]) -> None:
        """Set theta, unchecked, and everything that follows from it."""
        cell = cell_of(spec)
        self._spec, self._meta = spec, meta
        self.layout = cell.layout(spec)
        self.state_layout = cell.state_layout(spec)
        self._theta = theta
        self._params = self.layout.views(self._theta)
        self._dtype = self._theta.dtype
        self._start = start_state(spec, theta)
        self._state = self._start.copy()
        self._u = np.zeros(spec.inputs, self._dtype)
        self._y = np.zeros(spec.outputs, self._dtype)
        self._spare_state, self._spare_y = self._state.copy(), self._y.copy()
        self._ints = step_ints(spec)
        self._floats = step_floats(spec)
        self._rollout = cell.rollout
        self._fault = self.state_layout["fault"].offset
        # The compiled step trusts its arrays: nobody else can change the shape of these.
        self._own_theta, self._own_state, self._own_y = self._theta[:], self._state[:], self._y[:]
        # theta may be written to after this, so a reset looks there.
        self._learned = [
            (self._own_state[self.state_layout[name].part], self._own_theta[self.layout[source].part])
            for name, source in initial_blocks(spec).items()
        ]
        # Compile, or load from the cache, now: a control loop must never wait for the compiler.
        buffers = (self._own_theta, self._own_state, self._u, self._own_y, self._ints, self._floats)
        self._step = compiled_for(cell.step_checked, *buffers)
        self.reset()

    def __repr__(self) -> str:
        return f"<Controller {self._spec.summary()}, {self.layout.size} parameters, {self._spec.dtype}>"

    @property
    def spec(self) -> Spec:
        """Topology and time base."""
        return self._spec

    @property
    def meta(self) -> dict[str, Any]:
        """Notes of plain JSON types; writable in place. ``save`` stores them, and ``quantize`` copies them."""
        return self._meta

    @property
    def theta(self) -> Array:
        """Flat parameters ``[n_params]``; writable in place."""
        return self._theta

    @property
    def params(self) -> Mapping[str, Array]:
        """Writable views of theta by block name; matrices are ``[to, from]``."""
        return self._params

    @property
    def state(self) -> Array:
        """Flat state ``[n_state]``, scratch included; writable in place. CTRNN: ``state[:neurons]`` is y."""
        return self._state

    @property
    def fault(self) -> bool:
        """True after a step that met NaN or Inf; such a step gives the last safe output. Cleared by ``reset``."""
        return bool(self._state[self._fault])

    def reset(self) -> None:
        """Set the whole state to its initial values: network at rest or as learned, outputs at 0 or their limit."""
        self._state[:] = self._start
        for state, initial_state in self._learned:
            state[:] = initial_state

    def step(self, u: ArrayLike) -> Array:
        """Advance one time step of ``spec.dt_s``.

        Finite inputs beyond ``spec.input_limits`` are used unchanged; the fixed-point controller clips them.

        Args:
            u: inputs ``[inputs]``. A C-contiguous array in the spec's dtype is read in place; other numbers (lists,
                tuples, integers, another float dtype) are converted to that first, at several times the cost of a step.

        Returns:
            The outputs ``[outputs]``: the controller's own buffer, overwritten by the next step.

        Raises:
            LayoutError: u has the wrong shape, or holds no numbers or masked entries. The state is unchanged.

        Warns:
            SlowInputWarning: once per process, if u has to be converted.

        """
        # These checks cost half of Numba's own; the compiled step itself reports a wrong length.
        if type(u) is ndarray and u.ndim == 1 and u.dtype == self._dtype and u.flags.carray:
            if self._step(self._own_theta, self._own_state, u, self._own_y, self._ints, self._floats) == 0:
                return self._y
        u = accepted(u, self._u)
        self._step(self._own_theta, self._own_state, u, self._own_y, self._ints, self._floats)
        return self._y

    def warm_up(self, u: Array) -> None:
        """Do the work of ``step(u)`` on copies of state and outputs: it only warms the caches.

        A real-time loop calls this while it waits, so that the step itself finds its code and parameters in the caches.

        Raises:
            LayoutError: as ``step``.

        """
        self._spare_state[:] = self._state
        if type(u) is not ndarray or u.shape != self._u.shape or u.dtype != self._dtype or not u.flags.carray:
            u = accepted(u, self._u)
        self._step(self._own_theta, self._spare_state, u, self._spare_y, self._ints, self._floats)

    def rollout(self, inputs: ArrayLike) -> Array:
        """Step through a sequence from the current state.

        Args:
            inputs: ``[T, inputs]``, T at least 1; cast to the spec's dtype if needed.

        Returns:
            Outputs ``[T, outputs]``, a new array; the same bits as T calls of ``step``.

        Raises:
            LayoutError: wrong shape, or not numbers.

        """
        u = sequence(inputs, self._dtype, self._spec.inputs)
        y = np.empty((len(u), self._spec.outputs), self._dtype)
        self._rollout(self._theta, self._state, u, y, self._ints, self._floats)
        return y

    def quantize(
        self,
        weight_bits: int | Mapping[str, int] = 16,
        calibration: ArrayLike | None = None,
        state_bits: int = 32,
        *,
        allow_coarse: bool = False,
        shared_formats: bool = False,
    ) -> QuantController:
        """Return the fixed-point controller; see ``neuroctl.quant.quantize``."""
        q = quantize(
            self._spec,
            self._theta,
            weight_bits=weight_bits,
            state_bits=state_bits,
            calibration=calibration,
            reference=lambda inputs: Controller(self._spec, self._theta).rollout(inputs),
            allow_coarse=allow_coarse,
            shared_formats=shared_formats,
        )
        q.meta.update(io.notes_from(self._meta))
        return q

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        meta: Mapping[str, Any] | None = None,
        calibration: Array | None = None,
    ) -> None:
        """Write spec and parameters (not the state) to an ``.npz`` file; see ``neuroctl.io.save_model``.

        Args:
            path: the file; an existing one is replaced atomically.
            meta: notes instead of the controller's own.
            calibration: recorded inputs ``[T, inputs]`` in physical units, for choosing fixed-point formats.

        Raises:
            FileFormatError: ``meta`` is not allowed, or the file cannot be written.
            LayoutError: calibration does not fit the spec.

        """
        notes = self._meta if meta is None else meta
        io.save_model(path, self._spec, self._theta, meta=notes, calibration=calibration)


def _warn_above_stable_dt(spec: Spec, theta: Array) -> None:
    if spec.dt_s > max_stable_dt(spec, theta):
        # The text does not contain the limit, so that Python shows it once per line of code.
        text = (
            f"dt_s: {spec.dt_s:g} is above max_stable_dt: {spec.integrator} steps make decaying modes of theta grow; "
            "harmless in a controller evolved at this dt_s, which was scored with these very steps"
        )
        warn(text, StabilityWarning)


def load(path: str | os.PathLike[str]) -> Controller | QuantController:
    """Read a file written by ``Controller.save`` or ``QuantController.save``. Runs no code of the file's.

    Raises:
        FileFormatError: the file is incomplete, damaged or of another kind.

    """
    archive = io.read_archive(path)
    if archive.kind == "quant":
        return QuantController.from_archive(archive, path)
    io.expect_kind(archive, "controller", path)
    model = io.model_of(archive, path)
    return Controller(model.spec, model.theta, meta=model.meta)
