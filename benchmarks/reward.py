"""Training by reward: steps, seconds and returns on Gymnasium's classic tasks without velocities.

    python benchmarks/reward.py [--seeds 5] [--tasks gym-pendulum-positions ...]
    python benchmarks/reward.py --evolve --sb3 FOLDER [--sb3-seconds 300]

Ours: the settings of each task (`neuroctl train TASK`), compiled before the clock starts. The goal is reached when the
mean return from 64 unseen starts is; the return is that of the controller that was written, from 200 other starts.
RecurrentPPO of sb3-contrib, with the settings of rl-baselines3-zoo for these tasks, is timed until its mean return of
20 episodes has reached the goal, or the time or its steps are up, without those episodes; ``pip install --target FOLDER
sb3-contrib`` installs it. ``--evolve`` runs CMA-ES on the same tasks.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import sims
from neuroctl.backends import get
from neuroctl.evolve import StudyConfig, run_study
from neuroctl.studies.history import read_history
from neuroctl.train.ppo import PPO
from neuroctl.train.ppo_settings import PPOSettings
from sims.compiled import PlantReturn, plant_of

GOALS = {"gym-cartpole-positions": 500.0, "gym-pendulum-positions": -217.9, "gym-mountain-car-positions": 91.47}
CTRNN = {"gym-cartpole-positions": 450.0, "gym-cartpole-velocities": 450.0}
OTHER_STARTS = range(10_000, 10_200)


def training_of(name: str, seed: int, **network: object) -> PPO:
    """Return a training with the task's settings."""
    task = sims.get(name)
    settings = dict(task.train) | network
    spec = sims.controller_spec(name, settings.pop("neurons", 16), settings.pop("cell", "ctrnn"))
    return PPO(spec, plant_of(task), task.max_episode_steps, PPOSettings(**settings), seed=seed, threads=1)


def score(training: PPO, name: str, theta: np.ndarray) -> float:
    """Return the mean return from other starts."""
    starts = np.array([training.plant.start_of(seed) for seed in OTHER_STARTS]).T
    episodes = get("cpu").rollout(
        training.spec,
        theta,
        training.plant.module,
        sims.get(name).max_episode_steps,
        starts=np.ascontiguousarray(starts),
    )
    return float(episodes.fitness.mean())


def ours(name: str, goal: float, seeds: int, **network: object) -> None:
    """Train with several seeds and print a row for each."""
    for seed in range(seeds):
        training = training_of(name, seed, **network)
        training.warm_up()
        progress = training.begin(training.first())
        while training.over(progress) is None:
            progress = training.epoch(progress)
        rows = progress.rows
        judged = [row for row in rows if row.validation == row.validation]
        reached = next((row for row in judged if row.validation >= goal), None)
        late = [row.validation for row in judged if row.steps > rows[-1].steps / 2]
        at = "-" if reached is None else f"{reached.steps:,} steps {reached.elapsed_s:.2f} s"
        last, best, kind = rows[-1], progress.best_row, f"{training.spec.cell} {training.spec.neurons}"
        print(
            f"{name} {kind} seed {seed}: return {score(training, name, progress.best):.1f} (validation "
            f"{best.validation:.1f} at {best.steps:,}); goal {goal:g} at {at}; {last.steps:,} steps in "
            f"{last.elapsed_s:.2f} s, {last.steps / last.elapsed_s:,.0f} a second; worst validation in the second half "
            f"{min(late):.1f}",
            flush=True,
        )


def wide(name: str) -> None:
    """Print the steps a second of a wide training: 1,024 plants."""
    training = training_of(
        name, 0, cell="elman", num_envs=1024, num_steps=64, seq_len=None, update_epochs=4, num_minibatches=4,
        total_timesteps=20 * 65536, validate_every=1000, target_kl=None,
    )  # fmt: skip
    training.warm_up()
    progress = training.begin(training.first())
    while training.over(progress) is None:
        progress = training.epoch(progress)
    row = progress.rows[-1]
    print(
        f"{name} elman 16, 1024 plants: {row.steps / row.elapsed_s:,.0f} steps a second, learning included", flush=True
    )


def evolved(name: str, goal: float, seeds: int) -> None:
    """Evolve on the same task and print a row for each seed."""
    task = sims.get(name)
    objective = PlantReturn(task)
    for seed in range(seeds):
        spec = sims.controller_spec(name, 8, "ctrnn")
        config = StudyConfig(spec=spec, task=name, seed=seed, generations=100, population=32, episodes=4)
        with tempfile.TemporaryDirectory() as folder:
            result = run_study(config, objective, folder + "/study")
            history = read_history(Path(folder) / "study")
        reached = np.flatnonzero(history["best_validation"] >= goal)
        at = (
            "-"
            if not len(reached)
            else f"{history['episodes'][reached[0]]:,.0f} episodes {history['elapsed_s'][reached[0]]:.2f} s"
        )
        print(
            f"{name} CMA-ES ctrnn 8 seed {seed}: validation {result.best_score:.1f}; goal {goal:g} at {at}; "
            f"{history['episodes'][-1]:,.0f} episodes in {history['elapsed_s'][-1]:.2f} s",
            flush=True,
        )


ZOO = {  # rl-baselines3-zoo, hyperparams/ppo_lstm.yml; with an LSTM of 64, which is faster than its default of 256
    "gym-cartpole-positions": ("CartPole-v1", (1.0, 0.0, 1.0, 0.0), 8, False, {
        "n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20, "ent_coef": 0.0,
        "learning_rate": lambda left: 1e-3 * left, "clip_range": lambda left: 0.2 * left}),
    "gym-pendulum-positions": ("Pendulum-v1", (1.0, 1.0, 0.0), 4, False, {
        "n_steps": 1024, "gae_lambda": 0.95, "gamma": 0.9, "n_epochs": 10, "ent_coef": 0.0, "learning_rate": 1e-3,
        "clip_range": 0.2, "use_sde": True, "sde_sample_freq": 4}),
    "gym-mountain-car-positions": ("MountainCarContinuous-v0", (1.0, 0.0), 1, True, {
        "n_steps": 8, "batch_size": 256, "gae_lambda": 0.9, "gamma": 0.9999, "n_epochs": 10, "ent_coef": 0.00429,
        "learning_rate": 7.77e-5, "clip_range": 0.1, "max_grad_norm": 5, "vf_coef": 0.19, "use_sde": True}),
}  # fmt: skip
ZOO_STEPS = {
    "gym-cartpole-positions": 100_000,
    "gym-pendulum-positions": 100_000,
    "gym-mountain-car-positions": 300_000,
}


def stable_baselines(name: str, goal: float, most_s: float, folder: str) -> None:
    """Train RecurrentPPO until the goal is reached or the time is up, and print a row."""
    sys.path.append(folder)
    import gymnasium
    import torch
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import VecNormalize

    torch.set_num_threads(1)
    env_id, seen, count, normalized, settings = ZOO[name]

    def masked() -> gymnasium.Env:
        env = gymnasium.make(env_id)
        return gymnasium.wrappers.TransformObservation(
            env, lambda u: (u * np.array(seen)).astype(np.float32), env.observation_space
        )

    class Until(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.begin, self.judging, self.score, self.next = time.perf_counter(), 0.0, -np.inf, 5000

        def _on_step(self) -> bool:
            if self.num_timesteps >= self.next:
                self.next, began = self.num_timesteps + 5000, time.perf_counter()
                judges = make_vec_env(masked, 20)
                if normalized:
                    judges = VecNormalize(judges, training=False, norm_reward=False)
                    judges.obs_rms = self.training_env.obs_rms
                self.score = max(self.score, float(evaluate_policy(self.model, judges, n_eval_episodes=20)[0]))
                self.judging += time.perf_counter() - began
            self.taken = time.perf_counter() - self.begin - self.judging
            return self.score < goal and self.taken < most_s

    envs = make_vec_env(masked, count, seed=0)
    policy = {"lstm_hidden_size": 64} | ({"log_std_init": -3.29, "ortho_init": False} if normalized else {})
    model = RecurrentPPO(
        "MlpLstmPolicy", VecNormalize(envs) if normalized else envs, seed=0, device="cpu", policy_kwargs=policy,
        **settings,
    )  # fmt: skip
    until = Until()
    model.learn(ZOO_STEPS[name], callback=until)
    print(
        f"{name} sb3-contrib RecurrentPPO: return {until.score:.1f} after {until.num_timesteps:,} steps and "
        f"{until.taken:.0f} s, {until.num_timesteps / until.taken:,.0f} a second",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", nargs="*", default=list(GOALS))
    parser.add_argument("--evolve", action="store_true")
    parser.add_argument("--sb3")
    parser.add_argument("--sb3-seconds", type=float, default=300.0)
    given = parser.parse_args()
    for name in given.tasks:
        ours(name, GOALS[name], given.seeds)
        if given.evolve:
            evolved(name, GOALS[name], given.seeds)
        if given.sb3:
            stable_baselines(name, GOALS[name], given.sb3_seconds, given.sb3)
    for name, goal in CTRNN.items():
        ours(name, goal, given.seeds, cell="ctrnn", neurons=32, seq_len=64, total_timesteps=200_000)
    wide("gym-cartpole-positions")


if __name__ == "__main__":
    main()
