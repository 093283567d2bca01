"""Controllers of all cells and options that other libraries take."""

import numpy as np

import neuroctl as nc
from neuroctl.cells import layout

LIMITS = {"input_limits": ((-3, 3), (-1, 5), (0, 2)), "output_limits": ((-0.4, 0.3), (-1, 1))}
OPTIONS = {
    "ctrnn": {}, "ctrnn-heun": {"integrator": "heun"}, "ctrnn-rk4": {"integrator": "rk4"},
    "ctrnn-etd1": {"integrator": "etd1"}, "ctrnn-scaled": {"scale_inputs": True, **LIMITS},
    "indrnn": {"activation": "tanh"}, "indrnn-deep": {"layers": 3, "residual": True, "activation": "hard_tanh"},
    "indrnn-relu": {"layers": 2}, "elman": {}, "elman-relu": {"activation": "relu"},
    "elman-logistic": {"activation": "logistic", "output_activation": "tanh", **LIMITS},
    "jordan": {"context_decay": 0.5}, "jordan-limits": {"activation": "logistic", **LIMITS}, "gru": {},
    "elman-2": {"layers": 2}, "elman-3-learned": {"layers": 3, "activation": "relu", "initial_state": "learned"},
    "gru-2": {"layers": 2, **LIMITS}, "gru-3-dense": {"layers": 3, "encoder": (4,), "head": (4,)},
    "gru-2-learned": {"layers": 2, "initial_state": "learned"},
    "ctrnn-learned": {"initial_state": "learned"}, "elman-learned": {"initial_state": "learned"},
    "indrnn-learned": {"initial_state": "learned", "layers": 2, "activation": "tanh"},
    "jordan-learned": {"initial_state": "learned", "context_decay": 0.5}, "gru-learned": {"initial_state": "learned"},
    "gru-dense": {"encoder": (6, 4), "head": (4, 3), "scale_inputs": True, "initial_state": "learned", **LIMITS},
    "ctrnn-encoder": {"encoder": (4,), "dense_activation": "tanh"}, "jordan-head": {"head": (4,), "context_decay": 0.5},
    "cfc": {}, "cfc-no-gate": {"mode": "no_gate", "initial_state": "learned", **LIMITS},
    "cfc-backbone": {"backbone": (6, 4), "initial_state": "learned"},
    "cfc-relu": {"backbone": (6,), "activation": "relu", "scale_inputs": True, "head": (3,), **LIMITS},
    "gru-limits": {"output_activation": "logistic", "scale_inputs": True, **LIMITS},
}  # fmt: skip


def controller(name, dtype="float32"):
    """Return a controller whose parameters all matter."""
    sizes = {"inputs": 3, "neurons": 5, "outputs": 2, "dt_s": 0.05, "dtype": dtype}
    spec = nc.Spec(cell=name.partition("-")[0], **sizes, **OPTIONS[name])
    rng = np.random.default_rng(0)
    theta = nc.Controller(spec, seed=0).theta.copy()
    for block, values in layout(spec).views(theta).items():
        if block not in ("tau_s", "gain"):
            values[:] = 0.4 * rng.standard_normal(values.shape)
        if block == "tau_s":
            values[:] = rng.uniform(0.1, 0.5, values.shape)
    return nc.Controller(spec, theta)


def inputs(steps=1000):
    """Return inputs ``[steps, 3]``."""
    return np.random.default_rng(1).uniform(-1, 2, (steps, 3)).astype(np.float32)
