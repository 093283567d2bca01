"""Specs that have a gradient: every cell, integrator, activation and option."""

import itertools

import numpy as np

import neuroctl as nc
from neuroctl.cells import layout

SIZES = dict(inputs=3, neurons=6, outputs=2, dt_s=0.1, dtype="float64")
LIMITS = {"output_limits": ((-0.3, 0.4), (-2.0, 0.2))}
SCALED = {"input_limits": ((-2, 2), (0, 5), (-1, 3)), "scale_inputs": True}
MASK = tuple(tuple(int((i * j) % 3 > 0 or i == j) for j in range(6)) for i in range(6))


def spec(**fields) -> nc.Spec:
    if fields.get("readout") == "identity":
        fields["outputs"] = fields.get("neurons", SIZES["neurons"])
    return nc.Spec(**(SIZES | fields))


CASES = {
    **{f"ctrnn-{name}": spec(cell="ctrnn", integrator=name) for name in ("euler", "heun", "rk4", "etd1")},
    **{f"ctrnn-{name}-mask": spec(cell="ctrnn", integrator=name, mask=MASK) for name in ("euler", "rk4")},
    **{f"ctrnn-{name}-identity": spec(cell="ctrnn", integrator=name, readout="identity") for name in ("euler", "heun")},
    "ctrnn-tanh-limits-scaled": spec(cell="ctrnn", output_activation="tanh", **LIMITS, **SCALED),
    "ctrnn-one-neuron": spec(cell="ctrnn", integrator="rk4", neurons=1, inputs=1, outputs=1),
    **{f"elman-{name}": spec(cell="elman", activation=name) for name in ("tanh", "logistic", "relu")},
    "elman-identity": spec(cell="elman", readout="identity"),
    "elman-logistic-limits": spec(cell="elman", output_activation="logistic", **LIMITS),
    **{
        f"jordan-{name}-{decay}": spec(cell="jordan", activation=name, context_decay=decay)
        for name, decay in itertools.product(("tanh", "logistic", "relu"), (0.0, 0.5))
    },
    "gru": spec(cell="gru"),
    "gru-identity": spec(cell="gru", readout="identity"),
    "gru-tanh-limits-scaled": spec(cell="gru", output_activation="tanh", **LIMITS, **SCALED),
    "elman-2": spec(cell="elman", layers=2),
    "elman-relu-3-learned": spec(cell="elman", activation="relu", layers=3, initial_state="learned", **LIMITS),
    "elman-2-identity": spec(cell="elman", layers=2, readout="identity"),
    "gru-2": spec(cell="gru", layers=2, **LIMITS, **SCALED),
    "gru-3-learned": spec(cell="gru", layers=3, initial_state="learned"),
    "gru-2-identity": spec(cell="gru", layers=2, readout="identity"),
    "gru-2-dense": spec(cell="gru", layers=2, encoder=(4,), head=(3,), initial_state="learned"),
    "gru-one-neuron": spec(cell="gru", neurons=1, inputs=1, outputs=1),
    "jordan-tanh-limits": spec(cell="jordan", output_activation="tanh", context_decay=0.5, **LIMITS, **SCALED),
    **{
        f"indrnn-{name}-{layers}{'-residual' * residual}": spec(
            cell="indrnn", activation=name, layers=layers, residual=residual
        )
        for name, (layers, residual) in itertools.product(
            ("relu", "tanh", "hard_tanh"), ((1, False), (2, False), (3, True))
        )
    },
    "ctrnn-learned": spec(cell="ctrnn", initial_state="learned", **LIMITS),
    "ctrnn-rk4-learned": spec(cell="ctrnn", integrator="rk4", initial_state="learned"),
    "elman-learned": spec(cell="elman", initial_state="learned"),
    "jordan-learned": spec(cell="jordan", context_decay=0.5, initial_state="learned"),
    "gru-learned": spec(cell="gru", initial_state="learned", **SCALED),
    "indrnn-relu-2-learned": spec(cell="indrnn", layers=2, initial_state="learned"),
    "indrnn-tanh-3-residual-learned": spec(
        cell="indrnn", activation="tanh", layers=3, residual=True, initial_state="learned"
    ),
    "gru-dense-limits-scaled": spec(cell="gru", encoder=(5, 4), head=(4, 3), **LIMITS, **SCALED),
    "ctrnn-rk4-encoder": spec(cell="ctrnn", integrator="rk4", encoder=(4,), dense_activation="tanh"),
    "gru-dense-learned": spec(cell="gru", encoder=(4,), head=(3,), initial_state="learned"),
    "jordan-dense": spec(cell="jordan", encoder=(3,), head=(4, 3), context_decay=0.5, dense_activation="tanh"),
    "indrnn-dense": spec(cell="indrnn", layers=2, residual=True, encoder=(4, 5), head=(3,)),
    "cfc": spec(cell="cfc"),
    "cfc-no-gate-identity": spec(cell="cfc", mode="no_gate", readout="identity"),
    "cfc-backbone-limits-scaled": spec(cell="cfc", backbone=(5,), output_activation="tanh", **LIMITS, **SCALED),
    "cfc-backbone-3-learned": spec(cell="cfc", backbone=(5, 3, 4), mode="no_gate", initial_state="learned"),
    "cfc-backbone-relu": spec(cell="cfc", backbone=(7, 4), activation="relu", **LIMITS),
    "cfc-one-neuron": spec(cell="cfc", neurons=1, inputs=1, outputs=1, backbone=(1,)),
    "cfc-dense": spec(cell="cfc", encoder=(4,), head=(3,), backbone=(5,), initial_state="learned"),
    "elman-relu-output": spec(cell="elman", output_activation="relu", **LIMITS),
    "indrnn-identity": spec(cell="indrnn", readout="identity", layers=2, residual=True, horizon=50),
}


def theta_of(spec: nc.Spec, seed: int = 0) -> np.ndarray:
    """Return parameters with no two alike, within their bounds."""
    rng = np.random.default_rng(seed)
    theta = nc.Controller(spec, seed=seed).theta.astype(np.float64)
    for name, block in layout(spec).blocks.items():
        part = theta[block.part]
        bounded = name == "tau_s" or name.startswith(("u.", "h0"))
        part *= rng.uniform(0.8, 1.1 if name[0] != "h" else 1.0, part.shape) if bounded else 1.0
        part += 0.0 if bounded else 0.2 * rng.standard_normal(part.shape)
        if block.mask is not None:
            part *= np.ravel(block.mask)
    return theta.astype(spec.dtype)


def data(spec: nc.Spec, steps: int = 12, count: int = 5, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and targets ``[T, B, *]``."""
    rng = np.random.default_rng(seed)
    shapes = ((steps, count, spec.inputs), (steps, count, spec.outputs))
    return tuple(rng.standard_normal(shape).astype(spec.dtype) for shape in shapes)
