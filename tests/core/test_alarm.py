"""An alarm on what a network did not predict: equal to a plain loop, and what it does not accept."""

import numpy as np
import pytest

import neuroctl as nc
from neuroctl import Alarm, io
from neuroctl.errors import FileFormatError, LayoutError, SpecError

RNG = np.random.default_rng(0)


def predictor(inputs=2, outputs=2, **fields):
    limits = {"input_limits": ((-2, 8),) * inputs, "output_limits": ((-30, 30),) * outputs}
    spec = nc.Spec(cell="elman", inputs=inputs, neurons=4, outputs=outputs, dt_s=0.01, **limits | fields)
    return nc.Controller(spec, seed=1).quantize()


def plain(q, u, *, column, output, smooth, hold, warm_up, threshold_q):
    """Levels and alarms by Python's integers, from the definition."""
    q.reset()
    u_bits, out_bits = (int(-np.log2(q.last_bits[k])) for k in (column, q.spec.inputs + output))
    bits = max(u_bits, out_bits)
    level, left, predicted, levels, on = 0, 0, None, [], []
    for t, row in enumerate(u):
        measured = int(np.clip(row, *q.input_range)[column]) << bits - u_bits
        if t >= warm_up:
            level += abs(measured - predicted) - (level >> smooth)
            left = hold + 1 if level > threshold_q else left
        predicted = int(q.step_int(row)[output]) << bits - out_bits
        levels.append(level)
        on.append(left > 0)
        left = max(left - 1, 0)
    return np.array(on), np.array(levels)


OWN = {"input_limits": ((-3e4, 3e4), (-2, 8)), "output_limits": ((-1e6, 1e6), (-30, 30))}


@pytest.mark.parametrize("fields", [{}, OWN], ids=["shared formats", "formats of their own"])
@pytest.mark.parametrize(("smooth", "hold", "warm_up"), [(0, 0, 1), (3, 5, 1), (6, 20, 30)])
def test_equals_a_plain_loop(smooth, hold, warm_up, fields):
    q = predictor(**fields)
    assert q.last_bits[1] != q.last_bits[3]
    u = q.quantize_input(RNG.uniform(-2, 8, (500, 2)))
    u[100:110] = RNG.integers(-(1 << 15), 1 << 15, (10, 2))
    alarm = Alarm.calibrated(
        q, RNG.uniform(-2, 8, (500, 2)), quantile=0.9, input=1, output=1, smooth=smooth, hold=hold, warm_up=warm_up
    )
    alarm.reset()
    on, levels = plain(
        q, u, column=1, output=1, smooth=smooth, hold=hold, warm_up=warm_up, threshold_q=alarm.threshold_q
    )
    got = alarm.rollout_int(u)
    np.testing.assert_array_equal(got[0], on)
    np.testing.assert_array_equal(got[1], levels)
    assert 0 < on.sum() < 500 - warm_up
    alarm.reset()
    np.testing.assert_array_equal([alarm.step_int(row) for row in u], on)
    assert alarm.level == levels[-1] * alarm.lsb


def test_physical_inputs_and_a_rollout_in_two_parts():
    alarm = Alarm(predictor(1, 1), 4.0, smooth=2, hold=3)
    u = RNG.uniform(-2, 8, (200, 1))
    on, error = alarm.rollout(u)
    alarm.reset()
    first, second = alarm.rollout(u[:70]), alarm.rollout(u[70:])
    np.testing.assert_array_equal(np.concatenate([first[0], second[0]]), on)
    np.testing.assert_array_equal(np.concatenate([first[1], second[1]]), error)
    alarm.reset()
    assert [alarm.step(row) for row in u] == on.tolist()
    assert 0 < on.sum() < 200


def test_a_quantile_of_1_is_silent_on_what_it_was_found_on():
    u = RNG.uniform(-2, 8, (300, 2))
    quiet = Alarm.calibrated(predictor(), u, smooth=2)
    quiet.reset()
    on, error = quiet.rollout(u)
    assert not on.any()
    assert error.max() == quiet.threshold
    some = Alarm.calibrated(predictor(), u, smooth=2, quantile=0.9)
    some.reset()
    assert some.rollout(u)[0].sum() == pytest.approx(30, abs=1)


def test_the_controller_is_a_copy():
    q = predictor()
    alarm = Alarm(q, 1.0)
    before = q.state.copy()
    alarm.rollout(RNG.uniform(-2, 8, (10, 2)))
    np.testing.assert_array_equal(q.state, before)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"threshold": -1.0}, "threshold: -1.0; allowed: a number >= 0"),
        ({"threshold": float("nan")}, "threshold: nan; allowed"),
        ({"input": 2}, "input: 2; allowed: integers from 0 to 1"),
        ({"output": -1}, "output: -1; allowed: integers from 0 to 1"),
        ({"smooth": 13}, "smooth: 13; allowed: integers from 0 to 12"),
        (
            {"smooth": 12, "controller": lambda: predictor(output_limits=((-0.1, 0.1),) * 2)},
            r"smooth: 12: input and output have 11 and 18 fractional bits, so the level can reach \d+; allowed",
        ),
        ({"hold": 1.5}, "hold: 1.5; allowed: integers from 0 to 65534"),
        ({"warm_up": 0}, "warm_up: 0; allowed: integers from 1"),
        ({"controller": lambda: nc.Controller(predictor().spec)}, "controller: Controller; allowed: a QuantController"),
        ({"controller": lambda: predictor(scale_inputs=True)}, "scale_inputs: True; allowed for an alarm: False"),
    ],
)
def test_what_it_does_not_accept(fields, text):
    controller = fields.get("controller", predictor)()
    with pytest.raises(SpecError, match=text) as error:
        Alarm(**{"threshold": 1.0} | fields | {"controller": controller})
    assert "\n" not in str(error.value)


def test_calibration_needs_steps_and_numbers():
    with pytest.raises(SpecError, match="inputs: 20 steps; allowed: more than the warm_up of 20"):
        Alarm.calibrated(predictor(), np.zeros((20, 2)), warm_up=20)
    with pytest.raises(SpecError, match="quantile: 2; allowed: 0 to 1"):
        Alarm.calibrated(predictor(), np.zeros((20, 2)), quantile=2)
    with pytest.raises(LayoutError, match="inputs"):
        Alarm.calibrated(predictor(), np.zeros((20, 3)))
    with pytest.raises(LayoutError, match="u"):
        Alarm(predictor(), 1.0).step([1.0])


@pytest.fixture
def saved(tmp_path):
    recorded = RNG.uniform(-2, 8, (300, 2))
    q = nc.Controller(predictor().spec, seed=1).quantize(weight_bits=4, calibration=recorded)
    alarm = Alarm.calibrated(q, recorded, quantile=0.97, input=1, output=1, smooth=3, hold=4, warm_up=7)
    alarm.rollout(recorded)  # its state is not saved
    alarm.save(tmp_path / "alarm.npz", meta={"machine": "pump 3"})
    return alarm, tmp_path / "alarm.npz"


def test_a_loaded_alarm_gives_the_same_bits(saved, tmp_path):
    alarm, path = saved
    loaded = Alarm.load(path)
    assert loaded.settings == alarm.settings
    assert (loaded.threshold_q, loaded.lsb, loaded.factors) == (alarm.threshold_q, alarm.lsb, alarm.factors)
    assert loaded.controller.model_crc32 == alarm.controller.model_crc32
    np.testing.assert_array_equal(loaded.controller.calibration, alarm.controller.calibration)
    u = RNG.integers(-(1 << 15), 1 << 15, (1000, 2)).astype(np.int32)
    alarm.reset()
    for got, wanted in zip(loaded.rollout_int(u), alarm.rollout_int(u), strict=True):
        np.testing.assert_array_equal(got, wanted)
    loaded.save(tmp_path / "again.npz", meta={"machine": "pump 3"})
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("threshold", [0.0, 1e-9, 1e300])
def test_any_threshold_survives_a_file(threshold, tmp_path):
    alarm = Alarm(predictor(), threshold)
    alarm.save(tmp_path / "a.npz")
    assert Alarm.load(tmp_path / "a.npz").threshold_q == alarm.threshold_q


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda fields: fields["alarm"].update(threshold=-1.0), "alarm: threshold: -1.0; allowed: a number >= 0"),
        (lambda fields: fields["alarm"].update(hold="5"), "alarm: hold: '5'; allowed: integers from 0 to 65534"),
        (lambda fields: fields["alarm"].pop("smooth"), "alarm: smooth is missing"),
        (lambda fields: fields.update(alarm=[1]), r"alarm: \[1\]; allowed: a JSON object"),
        (lambda fields: fields.pop("alarm"), "alarm: threshold is missing"),
        (lambda fields: fields.pop("formats"), "formats is missing"),
    ],
)
def test_a_sound_file_with_bad_content_is_refused(saved, change, text):
    archive = io.read_archive(saved[1])
    change(archive.fields)
    io.write_archive(saved[1], "alarm", archive.fields, archive.arrays)
    with pytest.raises(FileFormatError, match=f"alarm.npz: {text}") as caught:
        Alarm.load(saved[1])
    assert "\n" not in str(caught.value)


def test_files_of_other_kinds_and_damaged_ones(saved, tmp_path):
    alarm, path = saved
    with pytest.raises(FileFormatError, match="alarm.npz: holds an 'alarm'; allowed: a 'controller'$"):
        nc.load(path)
    alarm.controller.save(tmp_path / "q.npz")
    with pytest.raises(FileFormatError, match="q.npz: holds a 'quant'; allowed: an 'alarm'$"):
        Alarm.load(tmp_path / "q.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError, match="alarm.npz: "):
        Alarm.load(path)
    for owner in (alarm, alarm.controller):
        with pytest.raises(FileFormatError, match="meta: 'pump'; allowed: a mapping of names"):
            owner.save(path, meta="pump")
    with pytest.raises(FileFormatError, match="cannot be written"):
        alarm.save(tmp_path / "none" / "a.npz")
