"""What callers pass: NumPy's integers are integers, bool is none, and numbers are numbers."""

import fractions

import numpy as np
import pytest

import firmware_export
import neuroctl as nc
from neuroctl import checks, hopfield, io, plots
from neuroctl.backends import get
from neuroctl.cells import decode, layout
from neuroctl.dynamics import state_from_output
from neuroctl.evolve import Encoding, FixedPointConfig, Genome, StudyConfig, run_study
from neuroctl.evolve.evaluators import PoolEvaluator
from neuroctl.evolve.optimizers import check_name
from neuroctl.histogram import Histogram
from neuroctl.input_limits import limits_from
from neuroctl.link.arguments import check_seconds
from neuroctl.spikes import SynapticTraces
from tests.evolve.objectives import follow

FIELDS = {"cell": "elman", "inputs": 2, "neurons": 3, "outputs": 1, "dt_s": 0.01}
SPEC = nc.Spec(**FIELDS)
SPIKING = nc.Spec(**(FIELDS | {"cell": "ctrnn"}))
SIZE = layout(SPEC).size


def study(**fields):
    return StudyConfig(spec=SPEC, task="t", **fields)


def spec(**fields):
    return nc.Spec(**(FIELDS | fields))


# Every place of ours in the core that takes an integer: what makes it of the integer, and a value that is allowed.
INTEGERS = {
    "inputs": (lambda n: spec(inputs=n), 2),
    "neurons": (lambda n: spec(neurons=n), 2),
    "outputs": (lambda n: spec(outputs=n), 2),
    "layers": (lambda n: spec(cell="indrnn", layers=n), 2),
    "horizon": (lambda n: spec(cell="indrnn", horizon=n), 2),
    "settle_steps": (lambda n: spec(cell="hopfield", settle_steps=n), 2),
    "order_seed": (lambda n: spec(cell="hopfield", order_seed=n), 2),
    "seed": (lambda n: nc.Controller(SPEC, seed=n), 2),
    "weight_bits": (lambda n: nc.Controller(SPEC).quantize(n, calibration=np.ones((1, 2))), 8),
    "state_bits": (lambda n: nc.Controller(SPEC).quantize(state_bits=n, calibration=np.ones((1, 2))), 16),
    "threads": (lambda n: get("cpu").rollout(SPEC, nc.Controller(SPEC).theta, np.ones((2, 2)), threads=n), 1),
    "traces": (lambda n: SynapticTraces(n, dt_s=0.1, tau_s=1.0), 2),
    "patterns": (lambda n: hopfield.capacity(n, [0.1]), 8),
    "trials": (lambda n: hopfield.capacity(8, [0.1], trials=n), 1),
    "the patterns' seed": (lambda n: hopfield.capacity(8, [0.1], seed=n), 1),
    "limbs": (lambda n: Encoding(limbs=n), 2),
    "shared_inputs": (lambda n: Encoding(shared_inputs=n), 2),
    "integer_bits": (lambda n: Encoding(integer_bits=n), 8),
    "fixed point's weight_bits": (lambda n: FixedPointConfig(weight_bits=n), 8),
    "fixed point's state_bits": (lambda n: FixedPointConfig(state_bits=n), 16),
    **{
        name: (lambda n, name=name: study(**{name: n}), 6) for name in ("seed", "generations", "population", "episodes")
    },
}


@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint16])
@pytest.mark.parametrize("name", INTEGERS)
def test_integers_may_be_numpys(name, kind, tmp_path):
    use, value = INTEGERS[name]
    made = use(kind(value))
    if isinstance(made, (nc.Spec, StudyConfig, Encoding)):
        assert made == use(value)
        assert io.canonical_json(made.to_dict()) == io.canonical_json(use(value).to_dict())
    if isinstance(made, nc.QuantController):
        made.save(tmp_path / "q.npz")
        assert nc.load(tmp_path / "q.npz").model_crc32 == use(value).model_crc32


@pytest.mark.parametrize(
    "bad", [True, np.True_, 2.0, np.float64(2), "2", [2], np.array([2]), -1, np.int64(-1)], ids=repr
)
@pytest.mark.parametrize("name", INTEGERS)
def test_what_is_no_integer_of_the_range_is_refused(name, bad):
    with pytest.raises(nc.NeuroctlError, match="; allowed: ") as caught:
        INTEGERS[name][0](bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dt_s", [0.25, np.float32(0.25), np.float64(0.25), fractions.Fraction(1, 4)])
def test_a_time_step_is_any_real_number(dt_s):
    assert spec(dt_s=dt_s).to_dict()["dt_s"] == 0.25 and type(spec(dt_s=dt_s).dt_s) is float


BAD_NUMBERS = [
    float("nan"),
    float("inf"),
    True,
    np.True_,
    "0.1",
    None,
    1j,
    [0.1],
    np.array(0.1),
    10**400,
    np.ma.masked,
    -0.1,
]


@pytest.mark.parametrize("bad", BAD_NUMBERS, ids=lambda bad: repr(bad)[:20])
def test_what_is_no_number_is_refused(bad):
    for use in (
        lambda: spec(dt_s=bad),
        lambda: spec(cell="jordan", context_decay=bad),
        lambda: spec(input_limits=((-1, 1), (bad, -0.2))),
        lambda: study(sigma0=bad),
        lambda: Encoding(rhythm_hz=0.0 if bad is None else bad),  # None is no rhythm
        lambda: SynapticTraces(2, dt_s=bad, tau_s=1.0),
        lambda: check_seconds("timeout_s", bad),
        lambda: limits_from(np.ones((4, 2)), tail=bad),
    ):
        with pytest.raises(nc.NeuroctlError, match="; allowed: ") as caught:
            use()
        assert "\n" not in str(caught.value)


# What makes something of an argument, a value that is allowed, some that are not, and what the message says is allowed.
NAN, INF = float("nan"), float("inf")
RANGES = {
    "dt_s": (lambda x: spec(dt_s=x), 1e-300, (0, -1, INF), "seconds, finite and greater than 0"),
    "context_decay": (lambda x: spec(cell="jordan", context_decay=x), 0.99, (1, -0.1), "from 0 to less than 1"),
    "tail": (lambda x: limits_from(np.eye(2), tail=x), 0.4, (0.5, -0.1), "a number from 0 to 0.4"),
    "margin": (lambda x: limits_from(np.eye(2), margin=x), 1e3, (INF, -0.1), "a number from 0"),
    "sigma0": (lambda x: study(sigma0=x), 1000, (0, 1001, INF), "greater than 0, at most 1000"),
    "target_score": (lambda x: study(target_score=x), -1e300, (INF, -INF), "finite, or None"),
    "rhythm_hz": (lambda x: Encoding(limbs=2, rhythm_hz=x), 1e-9, (0, INF), "a frequency above 0, or None"),
    "q": (lambda x: Histogram().quantile(x), 1, (-0.1, 1.1), "0 to 1"),
}


@pytest.mark.parametrize("name", RANGES)
def test_numbers_out_of_range_are_refused(name):
    use, good, out_of_range, allowed = RANGES[name]
    use(good)
    for bad in (*out_of_range, NAN, True, "1"):
        with pytest.raises(nc.NeuroctlError) as caught:
            use(bad)
        assert str(caught.value) == f"{name}: {bad!r}; allowed: {allowed}"


NAMES = {
    "cell": lambda name: spec(cell=name),
    "rule": lambda name: hopfield.capacity(8, [0.1], rule=name),
    "optimizer": lambda name: check_name(name),
    "package": lambda name: firmware_export.export(None, "x", package=name),
    "target": lambda name: firmware_export.export(None, "x", target=name),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", ["", "none of ours", 3, None, ["unhashable"]])
def test_a_name_is_one_of_a_table(name, bad):
    with pytest.raises(nc.NeuroctlError, match="; allowed: ") as caught:
        NAMES[name](bad)
    assert str(caught.value).startswith(f"{name}: {bad!r}; allowed: ")


MASKED = np.ma.array(np.ones((4, 2)), mask=np.eye(4, 2))
HUGE = [[10**400, 1]] * 4
BAD_ARRAYS = {
    "masked": MASKED,
    "rows of masked": list(MASKED),
    "beyond every float": HUGE,
    "text": [["1", "2"]] * 4,
    "None": [[None, 1.0]] * 4,
    "ragged": [[1.0], [1.0, 2.0]],
    "complex": np.ones((4, 2), complex),
    "dict": {0: 1},
    "an iterator": iter([[1.0, 2.0]]),
    "a scalar": 1.5,
    "0-d": np.array(1.5),
    "dates": np.zeros((4, 2), "datetime64[s]"),
    "records": np.zeros(4, "f4,f4"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_arrays_of_anything_but_numbers_are_refused(name, tmp_path):
    bad = BAD_ARRAYS[name]
    ctl = nc.Controller(SPEC, seed=1)
    q = ctl.quantize(calibration=np.ones((4, 2)))
    theta = bad if np.ndim(bad if name != "ragged" else 0) != 2 else np.ma.ravel(bad) if name == "masked" else bad[0]
    for use in (
        lambda: ctl.rollout(bad),
        lambda: q.rollout(bad),
        lambda: q.quantize_input(bad),
        lambda: ctl.quantize(calibration=bad),
        lambda: ctl.save(tmp_path / "x.npz", calibration=bad),
        lambda: nc.Controller(SPEC, theta),
        lambda: decode(SPEC, theta),
        lambda: get("cpu").rollout(SPEC, ctl.theta, bad),
        lambda: SynapticTraces(2, dt_s=0.1, tau_s=1.0).train(bad),
        lambda: hopfield.hebb([bad]),
        lambda: hopfield.settle(bad, [1, -1]),
        lambda: nc.QuantController(SPEC, q.formats, bad),
        lambda: limits_from(bad),
        lambda: limits_from(np.ones((4, 2)), bad),
        lambda: hopfield.energy(bad, [1, -1]),
        lambda: hopfield.energy(np.ones((2, 2)), theta),
        lambda: hopfield.energy(np.ones((2, 2)), [1, -1], bad),
        lambda: state_from_output(SPIKING, nc.Controller(SPIKING).theta, theta),
        lambda: q.set_state_bytes(bad),
    ):
        with pytest.raises(nc.LayoutError, match="^[a-z_, ]+: .*; allowed: ") as caught:
            use()
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_masked_integers_are_refused():
    q = nc.Controller(SPEC, seed=1).quantize(calibration=np.ones((4, 2)))
    hidden = np.ma.array(np.ones((4, 2)), mask=np.eye(4, 2), dtype=np.int32)
    theta = nc.Controller(SPEC, seed=1).theta
    for use in (
        lambda: q.step_int(hidden[0]),
        lambda: q.rollout_int(hidden),
        lambda: q.dequantize_output(hidden[:, :1]),
        lambda: get("cpu").rollout(SPEC, np.ma.array(theta, mask=theta > 0), np.ones((2, 2))),
    ):
        with pytest.raises(nc.LayoutError, match="^[a-z]+: [0-9]+ masked entries; allowed: .*, none masked$"):
            use()
    shown = hidden.copy()
    shown.mask = False
    assert (
        q.rollout_int(shown)
        == nc.Controller(SPEC, seed=1).quantize(calibration=np.ones((4, 2))).rollout_int(shown.data)
    ).all()


def test_a_mask_that_hides_nothing_is_none():
    whole = np.ma.array(np.ones((4, 2)))
    ctl = nc.Controller(SPEC, seed=1)
    expected = ctl.rollout(np.ones((4, 2)))
    ctl.reset()
    assert (ctl.rollout(whole) == expected).all()


def test_integers_beyond_64_bits_are_numbers():
    assert checks.array("x", [2**70, 1], "numbers").tolist() == [2.0**70, 1.0]


def test_theta_of_numbers_beyond_every_float():
    with pytest.raises(
        nc.LayoutError, match=f"^theta: list: int too large to convert to float; allowed: {SIZE} numbers"
    ):
        nc.Controller(SPEC, [10**400] * SIZE)


def test_integer_parameters_have_the_layouts_length():
    q = nc.Controller(SPEC, seed=1).quantize(calibration=np.ones((4, 2)))
    for bad in (q.theta_q[:-1], np.append(q.theta_q, 0), q.theta_q.astype(float), q.theta_q[None]):
        with pytest.raises(nc.LayoutError, match=rf"^theta_q: .*; allowed: int32 \({SIZE},\)$"):
            nc.QuantController(SPEC, q.formats, bad)


@pytest.mark.parametrize("use", [nc.Controller, lambda s: decode(s, [0.0]), lambda s: nc.QuantController(s, {}, [])])
def test_a_spec_is_a_spec(use):
    for bad in (FIELDS, "elman", None, nc.Controller(SPEC)):
        with pytest.raises(nc.SpecError, match=r"^spec: .*; allowed: a Spec"):
            use(bad)


def test_what_else_a_caller_may_pass(tmp_path):
    q = nc.Controller(SPEC, seed=1).quantize(calibration=np.ones((4, 2)))
    picture = np.zeros((2, 2, 3), np.uint8)
    for use in (
        lambda: nc.prune(q),
        lambda: run_study({"spec": SPEC}, follow, tmp_path),
        lambda: run_study(study(), follow, 5),
        lambda: run_study(study(), follow, tmp_path, time_limit_s="1"),
        lambda: run_study(study(), follow, tmp_path, time_limit_s=float("nan")),
        lambda: PoolEvaluator(Genome(SPEC), follow, 1, task_timeout_s="1"),
        lambda: study(measures=5),
        lambda: firmware_export.export(q, 5),
        lambda: firmware_export.verify(5),
        lambda: plots.gif([], tmp_path / "x.gif", frame_s=0.1),
        lambda: plots.gif([picture], tmp_path / "x.gif", frame_s="0.1"),
    ):
        with pytest.raises(nc.NeuroctlError, match="^[a-z_]+: .*; allowed: ") as caught:
            use()
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
