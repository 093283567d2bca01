"""Every form in which a controller runs, behind one call, with the tolerance that is stated for it."""

import os

import numpy as np

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.cells import initial
from neuroctl.errors import BackendUnavailable

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") != "0"
LANES, LANE = 19, 7


def step(spec, theta, inputs):
    ctl = nc.Controller(spec, theta)
    return np.array([ctl.step(row).copy() for row in np.ascontiguousarray(inputs, spec.dtype)])


def rollout(spec, theta, inputs):
    return nc.Controller(spec, theta).rollout(inputs)


def lanes(spec, theta, inputs):
    """One lane of a population whose other members are others."""
    all_theta = np.stack([initial(spec, seed) for seed in range(LANES)], axis=1)
    all_theta[:, LANE] = theta
    return get("cpu").rollout(spec, np.ascontiguousarray(all_theta), inputs).outputs[:, :, LANE]


def shared(spec, theta, inputs):
    """One of several sequences that share their weights; the others see other inputs."""
    u = np.random.default_rng(0).uniform(-1, 1, (*np.shape(inputs), LANES))
    u[:, :, LANE] = inputs
    return get("cpu").rollout(spec, np.asarray(theta, spec.dtype), u).outputs[:, :, LANE]


def cuda(spec, theta, inputs):
    """A thread of a launch."""
    all_theta = np.repeat(np.asarray(theta, spec.dtype)[:, None], 2, axis=1)
    return get("cuda").rollout(spec, np.ascontiguousarray(all_theta), inputs, threads=32).outputs[:, :, 1]


def fixed(spec, theta, inputs, bits=16):
    return nc.Controller(spec, theta).quantize(weight_bits=bits).rollout(inputs)


def fixed8(spec, theta, inputs):
    return fixed(spec, theta, inputs, 8)


def has_cuda():
    try:
        get("cuda")
    except BackendUnavailable:
        return False
    return True


FLOATS = {"step": step, "rollout": rollout, "lanes": lanes, "shared weights": shared}
FLOATS = {"cuda": cuda} if SIMULATED else FLOATS | ({"cuda": cuda} if has_cuda() else {})
INTEGERS = {} if SIMULATED else {"fixed point, 16 bits": fixed, "fixed point, 8 bits": fixed8}

FLOAT_TOLERANCE = {"float64": 1e-9, "float32": 2e-4}
"""Of an output, over the cases of ``cases.py``: rounding, summed up over some hundred steps."""
