"""Integer controllers in lanes: the same bits as one by one, whatever their formats."""

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.cells import integer_of
from neuroctl.errors import LayoutError
from sims.plants import double_pole, walker

CPU = get("cpu")
LIMITS = {"input_limits": ((-1.0, 1.0),) * 3, "output_limits": ((-10.0, 10.0),)}
CASES = [
    {"cell": "ctrnn"},
    {"cell": "ctrnn", "integrator": "etd1", "output_activation": "tanh"},
    {"cell": "ctrnn", "dtype": "float64"},
    {"cell": "indrnn"},
    {"cell": "indrnn", "layers": 2, "residual": True, "activation": "tanh"},
    {"cell": "indrnn", "activation": "hard_tanh", "layers": 3},
    {"cell": "elman"},
    {"cell": "elman", "activation": "relu"},
    {"cell": "jordan", "context_decay": 0.7},
    {"cell": "hopfield"},
    {"cell": "gru"},
    {"cell": "cfc"},
    {"cell": "cfc", "backbone": (6, 5), "activation": "relu", "mode": "no_gate"},
]
SPECS = [nc.Spec(inputs=3, neurons=5, outputs=1, dt_s=0.02, **LIMITS, **case) for case in CASES]


def controllers(spec, count=21):
    """Return controllers of very different formats, every third with weights of 8 bits."""
    made = []
    for seed in range(count):
        ctl = nc.Controller(spec, seed=seed)
        if spec.cell != "hopfield":
            ctl.theta[:] *= np.array(2.0 ** (seed % 5 - 2), spec.dtype)
        if spec.cell == "ctrnn":  # slow ones keep a residual
            ctl.params["tau_s"][:] = spec.dt_s * (2.0 + 40.0 ** (seed % 4) * np.arange(1, 6))
        if spec.cell == "indrnn":
            for layer in range(spec.layers):
                np.clip(ctl.params[f"u.{layer}"], -1, 1, out=ctl.params[f"u.{layer}"])
        made.append(ctl.quantize(weight_bits=8 if seed % 3 == 0 and spec.cell != "hopfield" else 16, allow_coarse=True))
    return made


@pytest.mark.filterwarnings("ignore::neuroctl.QuantizationWarning")
@pytest.mark.parametrize("spec", SPECS, ids=[" ".join(map(str, case.values())) for case in CASES])
def test_a_block_of_controllers_steps_as_each_alone(spec):
    many, form, width = controllers(spec, 16), integer_of(spec), 16
    u = np.random.default_rng(1).integers(-40_000, 40_000, (200, spec.inputs, width)).astype(np.int32)
    theta, state, ints = (
        np.ascontiguousarray(np.array([getattr(q, name) for q in many]).T) for name in ("theta_q", "start", "ints")
    )
    y, alone = np.zeros((spec.outputs, width), np.int32), np.zeros(spec.outputs, np.int32)
    states = [q.start.copy() for q in many]
    form.prepare_q(theta, state, ints)
    for t in range(len(u)):
        form.step_prepared_q(theta, state, u[t], y, ints)
        for p, q in enumerate(many):
            form.step_q(q.theta_q, states[p], u[t, :, p].copy(), alone, q.ints)
            assert np.array_equal(y[:, p], alone)
    assert np.array_equal(state, np.array(states).T)


@pytest.mark.filterwarnings("ignore::neuroctl.QuantizationWarning")
@pytest.mark.parametrize("spec", SPECS, ids=[" ".join(map(str, case.values())) for case in CASES])
def test_a_population_gets_the_fitness_of_each_alone(spec):
    many = controllers(spec)
    starts = np.tile(np.array(double_pole.START)[:, None], len(many))
    starts[2] = np.linspace(-0.1, 0.1, len(many))
    together = CPU.rollout_quantized(many, double_pole, 100, starts=starts, threads=2)
    for p in (0, 1, 2, 7, 15, 16, 20):
        alone = CPU.rollout_quantized([many[p]], double_pole, 100, starts=starts[:, p], threads=1)
        assert np.array_equal(alone.fitness, together.fitness[p : p + 1])
        assert np.array_equal(alone.steps, together.steps[p : p + 1])
        assert np.array_equal(alone.final[:, 0], together.final[:, p])
    assert not together.fault.any()


def test_early_ends_make_room_for_the_next():
    spec = SPECS[0]
    many = controllers(spec) * 30
    together = CPU.rollout_quantized(many, double_pole, 300, threads=1)
    assert len(set(together.steps.tolist())) > 2
    for shift in range(30):
        assert np.array_equal(together.fitness[:21], together.fitness[21 * shift : 21 * shift + 21])


def test_wrong_populations_are_named():
    q = controllers(SPECS[0], 2)
    other = nc.Controller(SPECS[6], seed=0).quantize()
    for population, message in (
        ([], "controllers: none; allowed: 1 or more"),
        ([q[0], other], r"controllers\[1\]: another spec"),
        ([q[0], nc.Controller(SPECS[0])], r"controllers\[1\]: Controller; allowed: QuantController"),
        (None, "controllers: None; allowed: a list of QuantController"),
    ):
        with pytest.raises(LayoutError, match=message):
            CPU.rollout_quantized(population, double_pole, 10)
    with pytest.raises(nc.NeuroctlError, match="plant: .*; allowed: a module, or the path of a Python file"):
        CPU.rollout_quantized(q, np.zeros((50, 3)), 50)
    alone = CPU.rollout_quantized(q[0], double_pole, 10).fitness
    assert np.array_equal(alone, CPU.rollout_quantized((c for c in q[:1]), double_pole, 10).fitness)
    with pytest.raises(LayoutError, match="starts: 3; allowed: 1, or one for each of 2 controllers"):
        CPU.rollout_quantized(q, double_pole, 10, starts=np.zeros((6, 3)))
    with pytest.raises(nc.NeuroctlError, match="allowed for walker"):
        CPU.rollout_quantized(q, walker, 10)
