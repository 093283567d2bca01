"""Continuous-time networks of the package CTRNN (M. Candadai, https://github.com/madvn/CTRNN), with a proof."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import layout
from neuroctl.checks import array, finite, integer, shown
from neuroctl.controller import Controller
from neuroctl.errors import InteropError
from neuroctl.interop.proof import check_equal
from neuroctl.spec import Limits, Spec

Array = NDArray[Any]

_VECTORS: Final = ("taus", "gains", "biases", "states")
_MAX: Final = 4096


def from_ctrnn(
    source: Any,
    *,
    inputs: Sequence[int] | None = None,
    outputs: Sequence[int] | None = None,
    input_limits: Limits | None = None,
    output_limits: Limits | None = None,
    dtype: str = "float32",
) -> Controller:
    """Make a controller of a ``CTRNN`` object of the package CTRNN, and prove that both compute the same.

    Each neuron there has an external input and is an output; name those that are used. Its ``step_size`` becomes dt_s
    (its time constants have the same unit, taken for seconds), its ``states`` the learned initial state. The proof runs
    ``euler_step`` of a copy on three random sequences of 1,000 steps, from ``outputs`` that follow from the states by
    gain and bias; setting ``states`` leaves them without both for one step, which is not taken over.

    Args:
        source: the network.
        inputs: the neurons that get an input, in the order of the controller's inputs; None: all.
        outputs: the neurons that are outputs; None: all.
        input_limits: see ``Spec``.
        output_limits: see ``Spec``; the proof runs without them.
        dtype: of the controller.

    Raises:
        InteropError: the object has other attributes, shapes or numbers, or the proof failed; the message says if
            weights ``[from, to]`` explain it.
        SpecError: limits or dtype are not allowed.
        LayoutError: a time constant is below half a step.

    Example:
        >>> from_ctrnn(network, inputs=[0, 1], outputs=[3])  # doctest: +SKIP
        <Controller ctrnn: 2 inputs, 4 neurons, 1 output, dt_s 0.01, 49 parameters, float32>

    """
    size = integer("source: size", getattr(source, "size", None), 1, _MAX, error=InteropError)
    columns, rows = _neurons("inputs", inputs, size), _neurons("outputs", outputs, size)
    spec = Spec(
        cell="ctrnn", inputs=len(columns), neurons=size, outputs=len(rows), dt_s=getattr(source, "step_size", 0.0),
        initial_state="learned", dtype=dtype, input_limits=input_limits, output_limits=output_limits,
    )  # fmt: skip
    weights = _numbers(source, "weights", (size, size))
    theta, plain = _theta(source, spec, weights, columns, rows), Spec(**_proof_fields(spec))

    def run(u: Array) -> Array:
        return _run(source, u, columns, rows)

    def why() -> str:
        u = np.random.default_rng(0).standard_normal((50, spec.inputs))
        turned = Controller(plain, _theta(source, plain, weights.T, columns, rows)).rollout(u)
        if np.allclose(turned, run(u), rtol=0, atol=1e-5):
            return "; its weights are [from, to]"
        return "; weights [from, to] do not explain it"

    check_equal(Controller(plain, theta), run, why=why)
    return Controller(spec, theta)


def _neurons(field: str, given: Sequence[int] | None, size: int) -> list[int]:
    if given is None:
        return list(range(size))
    if isinstance(given, (str, bytes, Mapping, Set)) or not isinstance(given, Iterable):
        raise InteropError(f"{field}: {shown(given)}; allowed: one or more neurons, each once")
    places = [integer(f"{field}[{k}]", place, 0, size - 1, error=InteropError) for k, place in enumerate(given)]
    if not places or len(set(places)) < len(places):
        raise InteropError(f"{field}: {shown(given)}; allowed: one or more neurons, each once")
    return places


def _numbers(source: Any, name: str, shape: tuple[int, ...]) -> Array:
    """Return an attribute, dense or sparse, as float64."""
    values: Any = getattr(source, name, None)
    values = values.toarray() if hasattr(values, "toarray") else values
    allowed = f"finite numbers of shape {shape}"
    numbers = array(f"source: {name}", values, allowed, error=InteropError).astype(np.float64)
    if numbers.shape != shape or not finite(numbers):
        raise InteropError(f"source: {name}: {shown(values)}; allowed: {allowed}")
    return numbers


def _theta(source: Any, spec: Spec, weights: Array, columns: list[int], rows: list[int]) -> Array:
    vectors = {name: _numbers(source, name, (spec.neurons,)) for name in _VECTORS}
    theta = np.zeros(layout(spec).size)
    p = layout(spec).views(theta)
    p["tau_s"][:], p["gain"][:], p["bias"][:], p["y0"][:] = vectors.values()
    p["W"][:] = weights
    p["W_in"][columns, range(len(columns))] = 1.0
    p["W_out"][range(len(rows)), rows] = 1.0
    return theta


def _proof_fields(spec: Spec) -> dict[str, Any]:
    return spec.to_dict() | {"dtype": "float64", "input_limits": None, "output_limits": None}


def _run(source: Any, u: Array, columns: list[int], rows: list[int]) -> Array:
    """Return the outputs of a copy of the network on inputs ``[T, m]``."""
    external, outputs = np.zeros(source.size), []
    try:
        network = copy.deepcopy(source)
        network.outputs = 1.0 / (1.0 + np.exp(-network.gains * (network.states + network.biases)))
        for row in u:
            external[columns] = row
            network.euler_step(external)
            outputs.append(np.array(network.outputs, np.float64)[rows])
    except Exception as error:  # the network is code of others, which may raise anything
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise InteropError(f"source: its euler_step raised {text}; allowed: a network that steps") from error
    return np.array(outputs)
