"""Parameters that training starts from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import base, cfc, initial, layers, layout, stack
from neuroctl.cells.ctrnn import center_crossing_bias
from neuroctl.cells.gru import UPDATE_BIAS
from neuroctl.cells.indrnn import paper_init
from neuroctl.checks import integer
from neuroctl.errors import TrainingError
from neuroctl.spec import Spec

Array = NDArray[Any]
Blocks = Mapping[str, Array]

_TAU_STEPS: Final = 2.0, 50.0
_RELU_GAIN: Final = math.sqrt(2.0)  # of a layer whose function lets half of its sums through (He et al. 2015)
_RECURRENT: Final = 4.0  # 1 over the logistic's largest slope


def start(spec: Spec, seed: int = 0) -> Array:
    """Return a random theta ``[n_params]`` to start training from.

    - IndRNN: as its paper does, see ``cells.indrnn.paper_init``, over the limits of inputs and outputs
    - Elman: U is a random orthogonal matrix, which neither shrinks nor stretches what is remembered; bias is 0
    - GRU: U of each gate is a random orthogonal matrix; biases are 0, of the update gate 1: a long memory is learned
      from a short one, not from none (R. Jozefowicz, W. Zaremba, I. Sutskever, ICML 2015, on forget gates)
    - CfC: U of f, g and t is a random orthogonal matrix; with a backbone U and layers behind it are uniform as dense
      layers are; biases are 0
    - Jordan: U is uniform within 1 / sqrt(outputs) over the outputs' limits; bias is 0
    - CTRNN: W is normal with standard deviation 4 / sqrt(n), where activity neither dies nor explodes; biases are
      center-crossing; tau_s is log-uniform from 2 to 50 dt_s; gain is 1
    - W_in of later layers is uniform within sqrt(3 / n)
    - all but the first: W_in is uniform within sqrt(3 / inputs) over the inputs' limits, W_out within sqrt(3 / n) over
      the outputs' range, and at rest the outputs are in its middle
    - a learned initial state begins as zeros
    - dense layers: uniform, of variance 1 over the columns, or 2 where ReLU follows (K. He et al., ICCV 2015); biases 0

    Raises:
        TrainingError: seed is no integer >= 0.

    """
    integer("seed", seed, 0, error=TrainingError)
    blocks = layout(spec)
    if spec.dense:
        return _dense(spec, seed)
    if spec.cell == "indrnn":
        theta = paper_init(spec, seed).astype(np.float64)
        p = blocks.views(theta)
        p["W_in.0"][:] /= base.input_scale(spec)
        base.decode_readout(spec, p)
        return blocks.coerce(theta, spec.dtype)
    if spec.cell not in _RECURRENCE:
        return initial(spec, seed)
    rng = np.random.default_rng(seed)
    theta = np.zeros(blocks.size)
    p = blocks.views(theta)
    p[base.first_weights(blocks)][:] = _uniform(rng, p[base.first_weights(blocks)].shape) / base.input_scale(spec)
    _RECURRENCE[spec.cell](spec, p, rng)
    if spec.readout == "affine":
        p["W_out"][:] = _uniform(rng, p["W_out"].shape)
        base.decode_readout(spec, p)
    return blocks.coerce(theta, spec.dtype)


def _dense(spec: Spec, seed: int) -> Array:
    """Return a start of a spec with dense layers: those and the core's, which has a generator of its own."""
    blocks, core, rng = layout(spec), layers.core_spec(spec), np.random.default_rng((seed, 1))
    theta = np.zeros(blocks.size)
    p = blocks.views(theta)
    for name, values in layout(core).views(start(core, seed)).items():
        p[layers.renamed(spec, name)][:] = values
    for name, *shape in (*layers.encoder_layers(spec), *layers.head_layers(spec)):
        gain = _RELU_GAIN if spec.dense_activation == "relu" and name != "out" else 1.0
        p[f"W_{name}"][:] = gain * _uniform(rng, (shape[0], shape[1]))
    if spec.encoder:
        p["W_enc.0"][:] /= base.input_scale(spec)
    if spec.head:
        base.decode_readout(spec, p)
    return blocks.coerce(theta, spec.dtype)


def _uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return weights of variance 1 / columns."""
    return np.asarray(rng.uniform(-1.0, 1.0, shape) * math.sqrt(3.0 / shape[1]))


def _orthogonal(rng: np.random.Generator, n: int) -> Array:
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return np.asarray(q * np.where(np.diag(r) < 0, -1.0, 1.0))  # uniform over all rotations (Mezzadri 2007)


def _elman(spec: Spec, p: Blocks, rng: np.random.Generator) -> None:
    for k in range(spec.layers):
        p[stack.of_layer(spec, "U", k)][:] = _orthogonal(rng, spec.neurons)
    _later_layers(spec, p, rng)


def _gru(spec: Spec, p: Blocks, rng: np.random.Generator) -> None:
    n = spec.neurons
    for k in range(spec.layers):
        p[stack.of_layer(spec, "U", k)][:] = np.concatenate([_orthogonal(rng, n) for _ in range(3)])
        p[stack.of_layer(spec, "bias", k)][n : 2 * n] = UPDATE_BIAS
    _later_layers(spec, p, rng)


def _later_layers(spec: Spec, p: Blocks, rng: np.random.Generator) -> None:
    for name in stack.names(spec, "W_in")[1:]:
        p[name][:] = _uniform(rng, p[name].shape)


def _cfc(spec: Spec, p: Blocks, rng: np.random.Generator) -> None:
    n, gain = spec.neurons, _RELU_GAIN if spec.activation == "relu" else 1.0
    if not spec.backbone:
        p["U"][:] = np.concatenate([_orthogonal(rng, n) for _ in range(3)])
        return
    p["U"][:] = gain * _uniform(rng, p["U"].shape)
    for name, rows, columns in cfc.heads(spec):
        p[f"W_{name}"][:] = (gain if name.startswith("backbone") else 1.0) * _uniform(rng, (rows, columns))


def _jordan(spec: Spec, p: Blocks, rng: np.random.Generator) -> None:
    p["U"][:] = rng.uniform(-1.0, 1.0, p["U"].shape) / math.sqrt(spec.outputs) / base.output_scale(spec)


def _ctrnn(spec: Spec, p: Blocks, rng: np.random.Generator) -> None:
    wired = 1.0 if spec.mask is None else np.array(spec.mask, np.float64)
    p["W"][:] = rng.standard_normal(p["W"].shape) * (_RECURRENT / math.sqrt(spec.neurons)) * wired
    p["bias"][:] = center_crossing_bias(p["W"])
    p["gain"][:] = 1.0
    low, high = _TAU_STEPS
    p["tau_s"][:] = spec.dt_s * low * (high / low) ** rng.uniform(0.0, 1.0, spec.neurons)


_RECURRENCE: Final[Mapping[str, Callable[[Spec, Blocks, np.random.Generator], None]]] = MappingProxyType(
    {"elman": _elman, "jordan": _jordan, "ctrnn": _ctrnn, "gru": _gru, "cfc": _cfc}
)
