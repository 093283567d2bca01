"""PPO in lanes: rollouts, advantages and gradients beside plain ones, and the same bits however it is run."""

import csv
import math
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.backends.plant import load, next_state
from neuroctl.cells import layout
from neuroctl.errors import ExportError, TrainingError
from neuroctl.fixed_point import FixedPointConfig
from neuroctl.studies.history import groups
from neuroctl.train import Gradient, normalizer
from neuroctl.train.by_reward import output_scale, trained_spec
from neuroctl.train.learners import Learner
from neuroctl.train.policy_loss import add_advantages
from neuroctl.train.ppo import PPO
from neuroctl.train.ppo_settings import PPOSettings
from neuroctl.train.study import Plan, run_training
from sims.plants import cart_pole_positions
from tests.commands import command, neuroctl, one_line_error

PLANT = load(cart_pole_positions)
SPEC = nc.Spec(
    cell="elman", inputs=2, neurons=4, outputs=1, dt_s=0.02, input_limits=((-5, 5), (-0.5, 0.5)),
    output_limits=((-10, 10),),
)  # fmt: skip
FEW = PPOSettings(
    total_timesteps=6 * 32 * 16, num_envs=32, num_steps=16, seq_len=8, num_minibatches=2, update_epochs=2,
    validation_episodes=8, validate_every=1, critic_neurons=8,
)  # fmt: skip
MAX_STEPS = 20


def ppo(spec=SPEC, settings=FEW, **more):
    return PPO(spec, PLANT, MAX_STEPS, settings, **({"seed": 3, "threads": 1} | more))


def whole(training, progress=None):
    progress = progress or training.begin(training.first())
    while training.over(progress) is None:
        progress = training.epoch(progress)
    return progress


def without_time(progress):
    return [row._replace(elapsed_s=0.0) for row in progress.rows]


def same(one, two):
    np.testing.assert_array_equal(one.theta, two.theta)
    np.testing.assert_array_equal(one.best, two.best)
    np.testing.assert_array_equal(np.array(without_time(one)), np.array(without_time(two)))
    for name, array in one.state.items():
        np.testing.assert_array_equal(array, two.state[name], err_msg=name)


def test_episodes_equal_those_of_a_plain_loop():
    training = ppo()
    progress = training.epoch(training.begin(training.first()))  # some normalizing by now
    theta, state = progress.theta, {name: array.copy() for name, array in progress.state.items()}
    about = training._inputs.centered(state["inputs"])
    scales = [normalizer.scale(known, "float32") for known in (about, state["critic_inputs"])]
    x, fresh, age = state["x"][0].copy(), state["fresh"][0].copy(), state["age"][0].copy()
    own = state["states"][0].reshape(-1, 32).copy()
    runs = training._actors(theta, state, scales, np.random.default_rng(1), np.random.default_rng(2))
    drawn = PLANT.draw_starts(np.random.default_rng(1), 4 * 32).reshape(-1, 4, 32)
    noise = np.random.default_rng(2).standard_normal((1, 16, 1, 32), np.float32)[0]
    controller = nc.Controller(training.trained, theta)
    ended = cut = 0
    for lane in range(0, 32, 7):
        taken, at = 0, tuple(x[:, lane].tolist())
        begins, steps = fresh[lane] != 0, age[lane]
        controller.state[:] = own[:, lane]
        for t in range(16):
            assert runs.resets[0, t, lane] == begins
            if begins:
                at, steps, taken = tuple(drawn[:, taken, lane].tolist()), 0, taken + 1
                controller.reset()
            u = (np.array(PLANT.module.observe(at), np.float32) - scales[0][0]) * scales[0][1]
            np.testing.assert_allclose(runs.inputs[0, t, :, lane], u, rtol=1e-3, atol=1e-4)
            seen = (np.array(PLANT.module.critic(at)) - scales[1][0]) * scales[1][1]
            np.testing.assert_allclose(runs.critic_inputs[0, t, :, lane], seen, rtol=1e-3, atol=1e-4)
            std = float(np.exp(state["log_std"][0]))
            z = float(controller.step(runs.inputs[0, t, :, lane].copy())[0]) + std * float(noise[t, 0, lane])
            np.testing.assert_allclose(runs.targets[0, t, 0, lane], z, rtol=1e-4, atol=1e-5)
            log_probability = -0.5 * noise[t, 0, lane] ** 2 - math.log(std)
            np.testing.assert_allclose(runs.targets[0, t, 1, lane], log_probability, rtol=1e-4, atol=1e-5)
            action = (10.0 * min(max(z, -1.0), 1.0),)
            at, steps = next_state(PLANT, at, action, 0.02), steps + 1
            assert runs.rewards[0, t, lane] == PLANT.module.reward(at, action)
            over = PLANT.module.done(at)
            assert runs.ended[0, t, lane] == over
            assert runs.cut[0, t, lane] == (steps >= MAX_STEPS and not over)
            begins = over or steps >= MAX_STEPS
            ended, cut = ended + over, cut + (begins and not over)
    assert cut > 0  # episodes end by the time limit here; by themselves below


def test_advantages_equal_their_definition():
    rng = np.random.default_rng(0)
    steps, lanes, gamma, lam, factor = 9, 4, 0.9, 0.8, 0.5
    rewards, values = rng.normal(size=(steps, lanes)), rng.normal(size=(steps + 1, lanes))
    ended = (rng.random((steps, lanes)) < 0.2).astype(float)
    cut = (rng.random((steps, lanes)) < 0.3) * (1 - ended)
    at_cut = rng.normal(size=(steps, lanes))
    where = np.flatnonzero(cut.any(axis=1))
    advantages, returns = np.zeros_like(rewards), np.zeros_like(rewards)
    numbers = np.array([factor, gamma, lam])
    add_advantages(
        rewards, values, at_cut, np.resize(where, steps), len(where), ended, cut, numbers, np.zeros(lanes), advantages,
        returns,
    )  # fmt: skip
    for lane in range(lanes):
        for t in range(steps):
            total, weight = 0.0, 1.0
            for k in range(t, steps):
                ahead = values[k + 1, lane]
                if cut[k, lane]:
                    ahead = at_cut[np.flatnonzero(where == k)[0], lane]
                total += weight * (factor * rewards[k, lane] + gamma * ahead * (1 - ended[k, lane]) - values[k, lane])
                weight *= gamma * lam
                if ended[k, lane] or cut[k, lane]:
                    break
            assert advantages[t, lane] == pytest.approx(total, rel=1e-12)
            assert returns[t, lane] == pytest.approx(total + values[t, lane], rel=1e-12)


def test_the_gradient_of_the_objective_is_torchs():
    torch = pytest.importorskip("torch", reason="torch is what gradients are compared with")
    training = ppo()
    progress = training.epoch(training.epoch(training.begin(training.first())))
    runs, rng = training._actors._runs, np.random.default_rng(5)
    theta = (progress.theta + 0.05 * rng.standard_normal(progress.theta.size)).astype(np.float32)
    log_std = progress.state["log_std"] + np.float32(0.1)
    centre = (0.1, 1.3)
    chosen = np.array([0, 1])
    learner = Learner(training.trained, FEW, 1, training._actors.pool)
    gradient, log_std_gradient, figures = learner(theta, log_std, runs, chosen, centre)
    total, expected, expected_log_std = 0.0, np.zeros_like(theta, dtype=np.float64), 0.0
    clipped = 0.0
    for k in chosen:
        part = slice(k * 8, k * 8 + 8)
        u, target = runs.inputs[0, part].swapaxes(1, 2).copy(), runs.targets[0, part]
        z, old, advantage = (torch.tensor(target[:, row].astype(np.float64)) for row in range(3))

        def loss(out, y, z=z, old=old, advantage=advantage):
            nonlocal expected_log_std, clipped
            mean = torch.tensor(out[:, :, 0].astype(np.float64), requires_grad=True)
            own = torch.tensor(float(log_std[0]), dtype=torch.float64, requires_grad=True)
            log = -0.5 * ((z - mean) / own.exp()) ** 2 - own
            ratio, a = (log - old).exp(), (advantage - centre[0]) * centre[1]
            objective = torch.max(-a * ratio, -a * ratio.clamp(1 - FEW.clip_coef, 1 + FEW.clip_coef))
            beyond = mean - mean.clamp(-1, 1).detach()
            value = (objective.sum() + FEW.bound_coef * (beyond**2).sum()) / (16 * 32)
            value.backward()
            expected_log_std += float(own.grad)
            clipped += float(((ratio - 1).abs() > FEW.clip_coef).sum()) / (16 * 32)
            return float(objective.detach().sum()) / (16 * 32), mean.grad.numpy()[:, :, None]

        first = runs.firsts[0, k].reshape(-1, 32)
        resets = runs.resets[0, part]
        value, one = Gradient(training.trained, loss)(theta, u, np.zeros((8, 32, 1)), state=first, resets=resets)
        total, expected = total + value, expected + one
    np.testing.assert_allclose(gradient, expected, rtol=2e-3, atol=1e-5 * np.abs(expected).max())
    assert log_std_gradient[0] == pytest.approx(expected_log_std, rel=1e-3)
    assert figures[0] == pytest.approx(total, rel=1e-4, abs=1e-6)
    assert figures[2] == pytest.approx(clipped, abs=1e-9)
    assert runs.resets.any()


@pytest.mark.parametrize("cell", ["elman", "ctrnn", "gru", "indrnn", "cfc"])
@pytest.mark.parametrize("more", [{}, {"scale_inputs": True}, {"encoder": (3,)}])
def test_the_normalizer_is_folded_into_the_weights(cell, more):
    spec = nc.Spec(
        cell=cell, inputs=2, neurons=4, outputs=2, dt_s=0.02, input_limits=((-5, 1), (0, 0.5)), dtype="float64",
        output_limits=((-10, 10), (2, 3)), **more,
    )  # fmt: skip
    training, folding = trained_spec(spec), normalizer.InputNormalizer(spec)
    rng = np.random.default_rng(1)
    u = rng.normal([-2.0, 0.3], [0.5, 0.01], (50, 2))
    known = normalizer.merged(normalizer.moments(2), u, (0,))
    mean, factor = normalizer.scale(folding.centered(known), "float64")
    theta = nc.Controller(training, seed=2).theta
    z = nc.Controller(training, theta).rollout((u - mean) * factor)
    scale = output_scale(spec)
    written = nc.Controller(spec, layout(spec).coerce(scale.physical(spec, folding.fold(theta, known)), "float64"))
    expected = scale.middle + scale.half * np.clip(z, -1, 1)
    np.testing.assert_allclose(written.rollout(u), expected, rtol=1e-6, atol=1e-6)


def test_moments_are_those_of_all_values_together():
    values = np.random.default_rng(0).normal(3.0, 2.0, (6, 5, 2, 4))
    known = normalizer.moments(2)
    for part in values:
        known = normalizer.merged(known, part[None], (0, 1, 3))
    np.testing.assert_allclose(known[0], values.mean(axis=(0, 1, 3)), rtol=1e-12)
    np.testing.assert_allclose(known[1], values.var(axis=(0, 1, 3)), rtol=1e-12)


def test_threads_and_pauses_change_no_bit():
    settings = PPOSettings(**(FEW.to_dict() | {"num_envs": 96, "total_timesteps": 4 * 96 * 16}))
    one = whole(ppo(settings=settings))
    training = ppo(settings=settings, threads=nc.machine.cores())
    same(one, whole(training))
    progress = training.begin(training.first())
    while training.over(progress) is None:
        progress = ppo(settings=settings).epoch(progress)  # nothing but progress is carried on
    same(one, progress)


def test_it_learns():
    settings = PPOSettings(total_timesteps=60_000, num_envs=32, learning_rate=0.01, update_epochs=10)
    progress = whole(PPO(SPEC, PLANT, 200, settings, seed=0))
    first = progress.rows[0].validation
    assert first < 100
    assert progress.best_row.validation == 200
    found = PPO(SPEC, PLANT, 200, settings, seed=0).validation(progress.best)
    assert found == 200  # the controller that is written


def test_noise_with_a_memory_keeps_its_deviation():
    training = ppo(settings=PPOSettings(**(FEW.to_dict() | {"noise_memory": 0.9, "num_steps": 512, "seq_len": 512})))
    state = training.begin(training.first()).state
    scales = [normalizer.scale(normalizer.moments(n), "float32") for n in (2, 4)]
    theta = training.first()
    training._actors(theta, state, scales, np.random.default_rng(1), np.random.default_rng(2))
    runs = training._actors(theta, state, scales, np.random.default_rng(3), np.random.default_rng(4))
    eps = np.sqrt(np.maximum(-2 * (runs.targets[0, :, 1] + state["log_std"][0]), 0))
    assert np.sqrt((eps**2).mean()) == pytest.approx(1.0, abs=0.05)
    z = runs.targets[0, :, 0]
    assert np.corrcoef(z[:-1].ravel(), z[1:].ravel())[0, 1] > 0.7


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gamma": 1.5}, r"gamma: 1.5; allowed: 0 to 1"),
        ({"seq_len": 7}, r"seq_len: 7; allowed: a divisor of num_steps, 64"),
        ({"num_envs": 0}, r"num_envs: 0; allowed: .*"),
        ({"noise_memory": 1.0}, r"noise_memory: 1.0; allowed: 0 to less than 1"),
        ({"gama": 1.0}, r"setting: 'gama'; allowed: .*gamma.*"),
    ],
)
def test_settings_that_are_not_allowed(fields, message):
    with pytest.raises(TrainingError, match=f"^{message}$"):
        PPOSettings.check(fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"output_limits": None}, r"output_limits: None; allowed by reward: \(low, high\) of each output"),
        (
            {"output_activation": "tanh"},
            r"readout: affine, output_activation tanh; allowed by reward: affine, identity",
        ),
        ({"cell": "jordan"}, r"cell: 'jordan'; allowed by reward: ctrnn, elman, indrnn, gru, cfc"),
    ],
)
def test_specs_that_are_not_trained_by_reward(fields, message):
    with pytest.raises(TrainingError, match=f"^{message}$"):
        trained_spec(nc.Spec(**({"cell": "elman", "inputs": 2, "neurons": 4, "outputs": 1, "dt_s": 0.02,
                                 "output_limits": ((-1, 1),)} | fields)))  # fmt: skip


def test_an_integer_controller_that_there_is_not_is_refused_at_once():
    spec = nc.Spec(
        cell="ctrnn", integrator="rk4", inputs=2, neurons=4, outputs=1, dt_s=0.02, input_limits=((-5, 5), (-0.5, 0.5)),
        output_limits=((-10, 10),),
    )  # fmt: skip
    with pytest.raises(ExportError, match="rk4"):
        ppo(spec, fixed_point=FixedPointConfig())


def plan(folder, training=None, **more):
    training = training or ppo()
    config = {"task": "t", "method": "ppo", "seed": 3, "spec": training.spec.to_dict()}
    return Plan(training, training.first(), config, folder, **more)


def test_in_fixed_point_the_best_is_the_integer_controllers(tmp_path):
    training = ppo(fixed_point=FixedPointConfig(weight_bits=8))
    result = run_training(plan(tmp_path / "a", training))
    q = nc.load(result.fixed_path)
    assert (q.spec, result.best_loss) == (SPEC, -training.validation(nc.load(result.best_path).theta))


class _Killed(Exception):
    pass


@pytest.mark.parametrize("count", [10 if os.environ.get("NEUROCTL_FULL") else 3])
def test_killed_at_any_moment_it_goes_on_with_the_same_bits(tmp_path, count, monkeypatch):
    from neuroctl.train import study

    monkeypatch.setattr(study, "_CHECKPOINT_S", 0.0)
    run_training(plan(tmp_path / "whole"))
    rng = np.random.default_rng(0)
    for case in range(count):
        folder, resume = tmp_path / str(case), False
        for after in rng.integers(1, 4, 2):
            left = [int(after)]

            def kill(_row, left=left):
                left[0] -= 1
                if not left[0]:
                    raise _Killed

            with pytest.raises(_Killed):
                run_training(plan(folder, resume=resume, on_epoch=kill))
            resume = True
        run_training(plan(folder, resume=True))
        assert (folder / "best.npz").read_bytes() == (tmp_path / "whole" / "best.npz").read_bytes()
        one, two = (
            list(csv.DictReader((f / "history.csv").read_text().splitlines())) for f in (folder, tmp_path / "whole")
        )
        assert [row | {"elapsed_s": 0} for row in one] == [row | {"elapsed_s": 0} for row in two]


def test_the_command_trains_compares_and_goes_on_after_a_kill(tmp_path):
    arguments = ["train", "gym-cartpole-positions", "--cell", "elman", "--neurons", "4", "--budget", "40000steps",
                 "--set", "update_epochs=2", "--set", "validation_episodes=4", "--seed", "2"]  # fmt: skip
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "neuroctl", *arguments, "--out", str(folder)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while running.poll() is None and not (folder / "checkpoint.npz").exists():
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    resumed = neuroctl("train", "gym-cartpole-positions", "--out", str(folder), "--resume", "--json")
    assert '"stop_reason": "all steps done"' in resumed.stdout
    plain = neuroctl(*arguments, "--out", str(tmp_path / "plain"))
    assert re.search(r"all steps done; best controller: \S+best.npz", plain.stdout)
    assert (folder / "best.npz").read_bytes() == (tmp_path / "plain" / "best.npz").read_bytes()
    neuroctl("evolve", "gym-cartpole-positions", "--generations", "2", "--population", "4", "--episodes", "2",
             "--validation", "4", "--out", str(tmp_path / "evolved"))  # fmt: skip
    compared = groups([folder, tmp_path / "evolved"])
    assert {group.counted for group in compared} == {"episodes"}
    assert not any(group.training for group in compared)
    alone = groups([folder])[0]
    assert (alone.counted, alone.common) == ("steps", 40960)


def test_what_the_command_refuses(tmp_path):
    for arguments, message in (
        (["cartpole", "--budget", "1s"], "task: 'cartpole' has no compiled plant; allowed to train by reward:"),
        (["walker"], "budget: None; allowed: such as 2m, 90s or 300000steps"),
        (["gym-pendulum", "--budget", "7gens"], "budget: '7gens'; allowed: such as 10m, 90s, 2h, 5000steps"),
        (["gym-pendulum", "--set", "gamma"], "set: 'gamma'; allowed: a name and a number"),
        (["gym-pendulum", "--set", "gama=1", "--budget", "1s"], "setting: 'gama'; allowed:"),
        (["gym-pendulum", "--method", "sarsa"], "method: 'sarsa'; allowed: ppo, gradient"),
        (["gym-pendulum", "--window", "3"], "window: given; allowed with --data, not with a task"),
        (["--budget", "1s"], "budget: given; allowed with a task"),
    ):
        one_line_error(command("train", *arguments, "--out", str(tmp_path / "x")), message)
