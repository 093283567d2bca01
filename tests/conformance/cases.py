"""Controllers that all forms are run with: each cell with its options, small and well-behaved weights, 150 steps."""

import os

import numpy as np

import neuroctl as nc
from neuroctl.cells import decode, genome_size

STEPS = 40 if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") != "0" else 150
"""A simulated GPU does some thousand additions a second."""
BASE = {"inputs": 3, "neurons": 6, "outputs": 2, "dt_s": 0.05, "input_limits": ((-1.0, 1.0),) * 3}
BITS = {"update": "asynchronous", "readout": "last", "cell": "hopfield", "neurons": 12}
OPTIONS = {
    "CTRNN, Euler": {"cell": "ctrnn"},
    "CTRNN, Heun": {"cell": "ctrnn", "integrator": "heun"},
    "CTRNN, RK4": {"cell": "ctrnn", "integrator": "rk4"},
    "CTRNN, ETD1": {"cell": "ctrnn", "integrator": "etd1"},
    "IndRNN, ReLU": {"cell": "indrnn", "horizon": 20},
    "IndRNN, tanh, 2 layers, residual": {"cell": "indrnn", "activation": "tanh", "layers": 2, "residual": True},
    "IndRNN, hard tanh": {"cell": "indrnn", "activation": "hard_tanh"},
    "Elman, tanh": {"cell": "elman"},
    "Elman, logistic": {"cell": "elman", "activation": "logistic"},
    "Elman, ReLU": {"cell": "elman", "activation": "relu"},
    "Jordan, tanh": {"cell": "jordan", "context_decay": 0.8},
    "Jordan, logistic": {"cell": "jordan", "activation": "logistic", "context_decay": 0.5},
    "GRU": {"cell": "gru"},
    "CTRNN, learned start": {"cell": "ctrnn", "initial_state": "learned"},
    "IndRNN, tanh, 2 layers, learned start": {
        "cell": "indrnn",
        "activation": "tanh",
        "layers": 2,
        "initial_state": "learned",
    },
    "Elman, learned start": {"cell": "elman", "initial_state": "learned"},
    "Jordan, learned start": {"cell": "jordan", "context_decay": 0.8, "initial_state": "learned"},
    "GRU, learned start": {"cell": "gru", "initial_state": "learned"},
    "Elman, tanh, 3 layers": {"cell": "elman", "layers": 3},
    "Elman, ReLU, 2 layers": {"cell": "elman", "activation": "relu", "layers": 2},
    "GRU, 2 layers": {"cell": "gru", "layers": 2},
    "GRU, 3 layers, learned start": {"cell": "gru", "layers": 3, "initial_state": "learned"},
    "GRU, 2 layers between dense ones, ReLU": {"cell": "gru", "layers": 2, "encoder": (5,), "head": (4,)},
    "GRU between dense layers, ReLU": {"cell": "gru", "encoder": (5,), "head": (4,)},
    "CTRNN behind an encoder, tanh": {"cell": "ctrnn", "encoder": (5, 4), "dense_activation": "tanh"},
    "Elman before a head, logistic": {"cell": "elman", "head": (4, 3), "dense_activation": "logistic"},
    "Jordan between dense layers, ReLU": {"cell": "jordan", "encoder": (4,), "head": (5, 3), "context_decay": 0.5},
    "IndRNN before a head, ReLU": {"cell": "indrnn", "activation": "tanh", "layers": 2, "head": (4,)},
    "CfC": {"cell": "cfc"},
    "CfC, no gate, learned start": {"cell": "cfc", "mode": "no_gate", "initial_state": "learned"},
    "CfC, backbone": {"cell": "cfc", "backbone": (8,)},
    "CfC, 2 layers of ReLU": {"cell": "cfc", "backbone": (8, 5), "activation": "relu"},
    "CfC between dense layers, ReLU": {"cell": "cfc", "backbone": (5,), "encoder": (5,), "head": (4,)},
    "Hopfield, asynchronous": BITS,
    "Hopfield, synchronous": BITS | {"update": "synchronous"},
    "Hopfield, continuous": BITS | {"update": "continuous", "dt_s": 0.1},
}
FIXED_TOLERANCE = {16: 5e-3, 8: 0.3}
"""Of an output of magnitude about 1; formats that hold ReLU's worst case are coarser, ``WORST_CASE``."""
WORST_CASE = {"IndRNN, ReLU": 0.05, "Elman, ReLU": 0.05, "Elman, ReLU, 2 layers": 0.1}


def case(name, dtype):
    """Return spec, theta and inputs."""
    spec = nc.Spec(**(BASE | OPTIONS[name]), dtype=dtype)
    rng = np.random.default_rng(sum(map(ord, name)))
    theta = decode(spec, 0.3 * rng.standard_normal(genome_size(spec)))
    return spec, theta, np.clip(rng.normal(0, 0.5, (150, 3)), -1, 1)[:STEPS]


def in_fixed_point(name):
    """Whether the case has an integer form."""
    return name not in ("CTRNN, Heun", "CTRNN, RK4", "Hopfield, continuous")
