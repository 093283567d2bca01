"""The proof that an imported controller does what its source does: both are run on random sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.controller import Controller
from neuroctl.errors import InteropError
from neuroctl.interop.weights import Network, Recurrent

Array = NDArray[Any]
Run = Callable[[Array], Array]
"""Takes inputs float64 ``[T, m]``, returns outputs float64 ``[T, q]``."""

STEPS: Final = 1000
TOLERANCE: Final = 1e-5
UNEXPLAINED: Final = "no other order of gates, reset form or sum of biases explains it"
_SEQUENCES: Final = 3
_SHORT: Final = 50  # steps in which readings of the weights are told apart


def prove(network: Network, source: Run, dt_s: float, steps: int = STEPS, *, code: bool = False) -> float:
    """Run a source and the controller of its weights, in float64, and return the largest difference of outputs.

    Inputs are normal numbers with a standard deviation of 1, three sequences of 1,000 steps, or of ``steps``; of a
    source that is ``code`` large ones too, see ``check_equal``.

    Raises:
        InteropError: a difference is above 1e-5; the message says which other reading of the weights explains it, if
            one does.

    """
    controller = network.controller(network.spec(dt_s, "float64"))
    return check_equal(controller, source, steps, lambda: f"; {_why(network, source, min(steps, _SHORT))}", code=code)


def check_equal(
    controller: Controller, source: Run, steps: int = STEPS, why: Callable[[], str] = str, *, code: bool = False
) -> float:
    """Run a source and a controller from reset on three random sequences; return the largest difference of outputs.

    A source that is ``code`` may clip its inputs where normal numbers seldom reach, such as at 10: it has to agree on
    inputs of up to some 10,000 too, within 1e-5 of the largest output.

    Raises:
        InteropError: a difference is above 1e-5; ``why`` adds to the message.

    """
    largest, spec = 0.0, controller.spec
    for seed in range(_SEQUENCES):
        u = np.random.default_rng(seed).standard_normal((steps, spec.inputs)).astype(spec.dtype)
        expected = source(u)
        if expected.shape != (steps, spec.outputs):
            allowed = f"({steps}, {spec.outputs}), by its weights"
            raise InteropError(f"source: outputs of shape {expected.shape}; allowed: {allowed}")
        controller.reset()
        error = np.abs(controller.rollout(u) - expected).max()
        if not error <= TOLERANCE:
            text = f"source: its outputs and ours differ by {error:.3g}; allowed: {TOLERANCE:g}"
            raise InteropError(text + why())
        largest = max(largest, float(error))
    if code:
        _check_large(controller, source, steps)
    return largest


def _check_large(controller: Controller, source: Run, steps: int) -> None:
    generator, spec = np.random.default_rng(_SEQUENCES), controller.spec
    u = generator.standard_normal((steps, spec.inputs)) * 10.0 ** generator.uniform(0, 4, (steps, spec.inputs))
    u = u.astype(spec.dtype)
    expected = source(u)
    controller.reset()
    error = np.abs(controller.rollout(u) - expected).max() / max(1.0, np.abs(expected).max())
    if not error <= TOLERANCE:
        raise InteropError(
            f"source: with inputs of up to {np.abs(u).max():.0f} its outputs and ours differ by {error:.3g} of the "
            f"largest; allowed: {TOLERANCE:g}: no clip and no limit of inputs"
        )


def prove_example(network: Network, inputs: Array, outputs: Array, dt_s: float) -> float:
    """Step the controller of a network's weights, in float64, through an example, and return the largest difference.

    Args:
        network: the network.
        inputs: of several sequences, ``[T, B, m]``, each from a reset.
        outputs: what the source gave, ``[T, B, q]``.
        dt_s: time between two steps, in seconds.

    Raises:
        InteropError: shapes do not fit the network, or a difference is above 1e-5; the message says which other
            reading of the weights explains it, if one does.

    """
    controller = network.controller(network.spec(dt_s, "float64"))
    spec, sequences = controller.spec, inputs.shape[1]
    if inputs.shape[2] != spec.inputs or outputs.shape != (len(inputs), sequences, spec.outputs):
        allowed = f"{spec.inputs} inputs and {spec.outputs} outputs of the same steps, by the weights"
        raise InteropError(f"example: shapes {inputs.shape} and {outputs.shape}; allowed: {allowed}")
    if not inputs.size:
        raise InteropError(f"example: shape {inputs.shape}; allowed: one step of one sequence, or more")
    largest = 0.0
    for k in range(sequences):
        controller.reset()
        u = np.ascontiguousarray(inputs[:, k])
        error = np.abs(controller.rollout(u) - outputs[:, k]).max()
        if not error <= TOLERANCE:
            raise InteropError(
                f"example: its outputs and ours differ by {error:.3g}; allowed: {TOLERANCE:g}; "
                f"{_reason(network, u[:_SHORT], outputs[:_SHORT, k])}"
            )
        largest = max(largest, float(error))
    return largest


def _why(network: Network, source: Run, steps: int) -> str:
    """Say which other reading of the weights gives the source's outputs."""
    u = np.random.default_rng(0).standard_normal((steps, network.inputs))
    return _reason(network, u, source(u))


def _reason(network: Network, u: Array, expected: Array) -> str:
    for text, run in _readings(network):
        outputs = run(u)
        if outputs.shape == expected.shape and np.abs(outputs - expected).max() <= TOLERANCE:
            return f"the source computes {text}"
    return UNEXPLAINED


def _readings(network: Network) -> Iterator[tuple[str, Run]]:
    """Return other readings of the same weights, with what they are."""
    biases = {"both biases": (1, 1), "bias_ih alone": (1, 0), "bias_hh alone": (0, 1), "no bias": (0, 0)}
    orders = list(permutations(range(3))) if network.cell == "gru" else [(0,)]
    for order in orders:
        names = ", ".join(("r", "z", "candidate")[k] for k in order)
        for reset_after in (True, False) if network.cell == "gru" else (True,):
            form = "" if reset_after else ", with the reset before the product (linear_before_reset = 0)"
            for title, pair in biases.items():
                gates = f"gates in the order {names}, " if network.cell == "gru" else ""
                yield f"{gates}with {title}{form}", _plain(network, order, reset_after, pair)


def _plain(network: Network, order: tuple[int, ...], reset_after: bool, biases: tuple[int, int]) -> Run:
    """Return a plain NumPy network that reads the weights in one way.

    ``order``: where r, z and the candidate stand; ``biases``: factors of bias_ih and bias_hh.
    """
    n, f = network.weight_hh.shape[1], SQUASHES[network.dense_activation]

    def gate(weights: Array, k: int) -> Array:
        part: Array = weights[order[k] * n : (order[k] + 1) * n]
        return part

    def step(layer: Recurrent, u: Array, h: Array) -> Array:
        def drive(u: Array, h: Array, k: int) -> tuple[Array, Array]:
            inputs = gate(layer.weight_ih, k) @ u + biases[0] * gate(layer.bias_ih, k)
            return inputs, gate(layer.weight_hh, k) @ h + biases[1] * gate(layer.bias_hh, k)

        if network.cell == "elman":
            reading: Array = SQUASHES[str(network.activation)](sum(drive(u, h, 0)))
            return reading
        r, z = (_logistic(sum(drive(u, h, k))) for k in (0, 1))
        if reset_after:
            inputs, recalled = drive(u, h, 2)
            candidate = np.tanh(inputs + r * recalled)
        else:
            candidate = np.tanh(sum(drive(u, r * h, 2)))
        mixed: Array = candidate + z * (h - candidate)
        return mixed

    def run(u: Array) -> Array:
        count = len(network.layers)
        start = np.zeros(count * n) if network.initial is None else network.initial
        h, rows = np.split(start, count), []
        for weight, bias in network.encoder:
            u = f(u @ weight.T + bias)
        for row in u:
            x = row
            for k, layer in enumerate(network.layers):
                x = h[k] = step(layer, x, h[k])
            rows.append(x)
        states = np.array(rows)
        for weight, bias in network.head:
            states = f(states @ weight.T + bias)
        if network.readout is None:
            return states
        outputs: Array = SQUASHES[network.output_activation](states @ network.readout[0].T + network.readout[1])
        return outputs

    return run


def _logistic(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def _identity(x: Any) -> Any:
    return x


def _relu(x: Any) -> Any:
    return np.maximum(x, 0.0)


SQUASHES: Final[dict[str, Callable[[Any], Any]]] = {
    "identity": _identity, "tanh": np.tanh, "logistic": _logistic, "relu": _relu,
}  # fmt: skip
