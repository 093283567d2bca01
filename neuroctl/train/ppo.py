"""Recurrent PPO on compiled plants: policies act in lanes, and are trained on whole sequences, back through time.

J. Schulman et al., "Proximal policy optimization algorithms", arXiv 1707.06347 (2017). What an implementation has to
get right besides is listed by S. Huang et al., "The 37 implementation details of proximal policy optimization", ICLR
blog track 2022, whose names the settings have.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroctl.backends.plant import Plant, load
from neuroctl.backends.plant_errors import plant_errors
from neuroctl.cells import layout
from neuroctl.checks import finite
from neuroctl.errors import DivergedError
from neuroctl.fixed_point import FixedPointConfig
from neuroctl.maths.packs import lanes_of
from neuroctl.quant_controller import QuantController
from neuroctl.spec import Spec
from neuroctl.train import normalizer
from neuroctl.train.actors import Actors
from neuroctl.train.by_reward import Validation, output_scale, trained_spec
from neuroctl.train.coordinates import Coordinates
from neuroctl.train.learners import Critic, Learner
from neuroctl.train.optim import Adam, State, clip, global_norm
from neuroctl.train.ppo_settings import PPOSettings
from neuroctl.train.progress import Progress, Training
from neuroctl.train.projection import Projection
from neuroctl.train.starting import start

Array = NDArray[Any]

_STARTS, _NOISE, _ORDER = range(10, 13)  # streams of random numbers, apart from those of evolution
_FIRST_OUTPUTS: Final = 0.1  # of what is usual: the first actions are noise around the middle of their range
_STOP: Final = 1.5  # times the target divergence
_VALIDATIONS: Final = 50


class Figures(NamedTuple):
    """Figures of an epoch of training by reward.

    Args:
        epoch: its number, from 1 on.
        steps: of the plant so far.
        episodes: ended so far.
        elapsed_s: time so far, without compilation, in seconds.
        mean_return: mean sum of rewards of the episodes that ended in the epoch; NaN if none did.
        mean_length: their mean number of steps.
        validation: mean fitness from unseen starts after the epoch; NaN where none was asked for.
        policy_loss: mean of the clipped objective, negative.
        value_loss: mean square of the critic's errors, in units of the returns' deviation.
        kl: how far the policy went from where the update began.
        clipped: share of the steps beyond ``clip_coef``.
        std: mean deviation of actions, in units of half their range.
        learning_rate: of the policy.

    Example:
        >>> Figures(1, 2048, 12, 0.1, 20.5, 20.5, 31.0, -0.01, 0.2, 0.01, 0.1, 0.6, 1e-3).judged
        -31.0

    """

    epoch: int
    steps: int
    episodes: int
    elapsed_s: float
    mean_return: float
    mean_length: float
    validation: float
    policy_loss: float
    value_loss: float
    kl: float
    clipped: float
    std: float
    learning_rate: float

    @property
    def judged(self) -> float:
        """Minus the fitness in validation; infinite without."""
        return math.inf if math.isnan(self.validation) else -self.validation

    @property
    def shown(self) -> str:
        """What a progress bar says of the epoch."""
        gained = "" if math.isnan(self.mean_return) else f"return {self.mean_return:.4g} "
        return f"{gained}std {self.std:.2g}"

    @property
    def notes(self) -> Mapping[str, float]:
        """What the file of the best controller says of the epoch."""
        return {"epoch": self.epoch, "steps": self.steps, "return": self.validation}


class PPO(Training):
    """Trains a controller in a plant by reward.

    The same seed gives the same bits on one machine, for any number of threads.

    Args:
        spec: of the controller that is written, with limits of its outputs.
        plant: what it controls, see ``neuroctl.backends.plant``: loaded, a module, or the path of a file.
        max_steps: control steps after which an episode is cut.
        settings: of PPO.
        seed: of everything random.
        fixed_point: storage of the integer controller that the best is chosen by; None: the float controller.
        fitness: name of the plant's function that validation takes.
        threads: how many to use; None: one a core.

    Raises:
        PlantError: the plant does not fit the spec.
        TrainingError: the spec is not one of those trained by reward, see ``by_reward.trained_spec``.
        SpecError: the cell has no gradient.

    Example:
        >>> from sims.plants import cart_pole_positions
        >>> spec = nc.Spec(cell="elman", inputs=2, neurons=4, outputs=1, dt_s=0.02, output_limits=((-10, 10),))
        >>> ppo = PPO(spec, cart_pole_positions, 500, PPOSettings(total_timesteps=4000, num_envs=32))
        >>> progress = ppo.begin(ppo.first())
        >>> while ppo.over(progress) is None:
        ...     progress = ppo.epoch(progress)
        >>> progress.rows[-1].steps, ppo.over(progress), nc.Controller(spec, progress.best).spec == spec
        (4096, 'all steps done', True)

    """

    ROW, INTEGERS = Figures, ("epoch", "steps", "episodes")

    def __init__(
        self, spec: Spec, plant: Plant | ModuleType | str | os.PathLike[str], max_steps: int,
        settings: PPOSettings | None = None, *, seed: int = 0, fixed_point: FixedPointConfig | None = None,
        fitness: str = "fitness", threads: int | None = None,
    ):  # fmt: skip
        super().__init__(spec)
        plant = plant if isinstance(plant, Plant) else load(plant)
        self.settings = settings = settings or PPOSettings()
        self.plant, self.max_steps, self.seed = plant, max_steps, seed
        self.trained, self.scale = trained_spec(spec), output_scale(spec)
        self.validation = Validation(
            spec, plant, max_steps, seed=seed, episodes=settings.validation_episodes, fitness=fitness,
            fixed_point=fixed_point, threads=threads,
        )  # fmt: skip
        width = 2 * lanes_of(spec.dtype)
        self.groups = -(-settings.num_envs // width)
        self.epoch_steps = self.groups * width * settings.num_steps
        self._inputs = normalizer.InputNormalizer(spec)
        self._coordinates, self._bounds = Coordinates(self.trained), Projection(self.trained)
        self._actors = Actors(self.trained, plant, max_steps, settings, self.scale, self.groups, threads)
        critic = Spec(
            cell="indrnn", activation="tanh", inputs=plant.critic_observations, neurons=settings.critic_neurons,
            layers=settings.critic_layers, outputs=1, dt_s=spec.dt_s, dtype=spec.dtype,
        )  # fmt: skip
        self._critic = Critic(critic, settings, self.groups, self._actors.pool)
        self._learner = Learner(self.trained, settings, self.groups, self._actors.pool)
        self._adam = Adam(epsilon=1e-5)
        total = settings.total_timesteps
        epochs = None if total is None else -(-total // self.epoch_steps)
        self.epochs = epochs
        self._every = settings.validate_every or (4 if epochs is None else max(1, epochs // _VALIDATIONS))

    @property
    def steps_integers(self) -> bool:
        """Whether the best is chosen as an integer controller."""
        return self.validation.fixed_point is not None

    def quantized(self, theta: Array) -> QuantController | None:
        """Return the integer controller of parameters; None of a training in floats."""
        return self.validation.quantized(theta)

    def first(self) -> Array:
        """Return parameters to start from, see ``start``: with small weights of the outputs."""
        theta = start(self.trained, self.seed)
        p = layout(self.trained).views(theta)
        p["W_out"][:] *= _FIRST_OUTPUTS
        return theta

    def written(self, theta: Array, known: Array) -> Array:
        """Return the parameters of the controller that is written, of those trained with these moments of inputs."""
        folded = self._inputs.fold(theta, known) if self.settings.norm_obs else self._unnormalized(theta)
        physical = self.scale.physical(self.spec, folded)
        return layout(self.spec).coerce(physical, self.spec.dtype)

    def _unnormalized(self, theta: Array) -> Array:
        known = normalizer.moments(self.spec.inputs)
        return self._inputs.fold(theta, known)

    def begin(self, theta: Array) -> Progress:
        """Return the progress before the first epoch, and compile."""
        settings, q = self.settings, self.spec.outputs
        theta = self._bounds(theta)
        dtype = self.spec.dtype
        phi = self._critic.first(self.seed)
        log_std = np.full(q, math.log(settings.init_std), dtype)
        state: State = {
            "critic": phi, "log_std": log_std,
            "inputs": normalizer.moments(self.spec.inputs),
            "critic_inputs": normalizer.moments(self.plant.critic_observations),
            "returns": normalizer.moments(1),
            "optimizer_steps": np.zeros(1, np.int64),
            **self._actors.begin(),
        }  # fmt: skip
        for name, size in (("policy", theta.size + q), ("critic", phi.size)):
            state |= {f"{name}.{key}": array for key, array in self._adam.begin(np.zeros(size, dtype)).items()}
        return Progress(theta, state, self.written(theta, state["inputs"]))

    def over(self, progress: Progress) -> str | None:
        """Return why the training is over, or None."""
        total = self.settings.total_timesteps
        return "all steps done" if total is not None and self._steps(progress) >= total else None

    def _steps(self, progress: Progress) -> int:
        return progress.rows[-1].steps if progress.rows else 0

    def warm_up(self) -> None:
        """Compile all that an epoch calls, or load it from the cache."""
        progress = self.begin(self.first())
        with plant_errors(self.plant, self._actors.kernel):
            self._epoch(progress, learn=True)

    def epoch(self, progress: Progress) -> Progress:
        """Return the progress after one more epoch: episodes, advantages, update, and validation if it is due.

        Raises:
            DivergedError: a loss or parameter is not finite.

        """
        return self._epoch(progress, learn=bool(progress.rows) or not self.settings.norm_obs)

    def _epoch(self, progress: Progress, *, learn: bool) -> Progress:
        began, settings = time.perf_counter(), self.settings
        number = len(progress.rows) + 1
        theta, state = progress.theta.copy(), {name: array.copy() for name, array in progress.state.items()}
        about = self._inputs.centered(state["inputs"])
        scales = [normalizer.scale(known, self.spec.dtype) for known in (about, state["critic_inputs"])]
        runs = self._actors(theta, state, scales, self._random(_STARTS, number), self._random(_NOISE, number))
        state["returns"] = normalizer.merged(state["returns"], runs.gatherings.reshape(-1, 1), (0,))
        factor = 1.0 / math.sqrt(max(float(state["returns"][normalizer.VARIANCE, 0]), 1e-8))
        self._critic.advantages(state["critic"], runs, factor if settings.norm_reward else 1.0)
        rate = self._rate(progress)
        loss, value_loss, kl, clipped = self._update(theta, state, runs, rate, number) if learn else (np.nan,) * 4
        if settings.norm_obs:
            for name, values, (mean, inverse) in zip(
                ("inputs", "critic_inputs"), (runs.inputs, runs.critic_inputs), scales, strict=True
            ):
                raw = values / inverse[:, None] + mean[:, None]
                state[name] = normalizer.merged(state[name], raw, (0, 1, 3))
        written = self.written(theta, state["inputs"])
        last = progress.rows[-1] if progress.rows else None
        steps = self._steps(progress) + self.epoch_steps
        due = number == 1 or number % self._every == 0 or (self.epochs is not None and number >= self.epochs)
        ended, gained, lasted = runs.figures
        row = Figures(
            number, steps, (last.episodes if last else 0) + int(ended),
            (last.elapsed_s if last else 0.0) + time.perf_counter() - began,
            gained / ended if ended else np.nan, lasted / ended if ended else np.nan,
            self.validation(written) if due else np.nan,
            loss, value_loss, kl, clipped, float(np.exp(state["log_std"]).mean()), rate,
        )  # fmt: skip
        self._check(theta, state, number)
        return progress.after(theta, state, row, written)

    def _random(self, stream: int, epoch: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(stream, epoch)))

    def _rate(self, progress: Progress) -> float:
        settings = self.settings
        if settings.total_timesteps is None or not settings.anneal_lr:
            return settings.learning_rate
        return settings.learning_rate * max(1.0 - self._steps(progress) / settings.total_timesteps, 0.0)

    def _update(self, theta: Array, state: State, runs: Any, rate: float, number: int) -> tuple[float, ...]:
        """Train policy and critic on the runs, in place; return mean objective, value loss, divergence, clipped."""
        settings, rng = self.settings, self._random(_ORDER, number)
        share = rate / settings.learning_rate
        critic_rate = share * (settings.critic_learning_rate or settings.learning_rate)
        samples = len(runs.samples)
        parts = min(settings.num_minibatches, samples)
        mean, deviation = float(runs.advantages.mean(dtype=np.float64)), float(runs.advantages.std(dtype=np.float64))
        centre = (mean, 1.0 / (deviation + 1e-8)) if settings.norm_adv else (0.0, 1.0)
        sums, done, stopped = np.zeros(4), 0, False
        for _ in range(settings.update_epochs):
            order, kl = rng.permutation(samples), 0.0
            for part in np.array_split(order, parts):
                chosen = np.sort(part)
                gradient, log_std_gradient, of_policy = self._learner(theta, state["log_std"], runs, chosen, centre)
                phi_gradient, value_loss = self._critic.gradient(state["critic"], runs, chosen)
                step = int(state["optimizer_steps"][0]) + 1
                self._step_policy(theta, state, gradient, log_std_gradient, step, rate)
                self._step_critic(state, phi_gradient, step, critic_rate)
                state["optimizer_steps"][0] = step
                sums += (of_policy[0], value_loss, of_policy[1], of_policy[2])
                kl += of_policy[1] / parts
                done += 1
            if settings.target_kl is not None and kl > _STOP * settings.target_kl:
                stopped = True
            if stopped:
                break
        return tuple((sums / done).tolist())

    def _step_policy(
        self, theta: Array, state: State, gradient: Array, log_std_gradient: Array, step: int, rate: float
    ) -> None:
        settings, log_std = self.settings, state["log_std"]
        whole = np.concatenate(
            [self._coordinates.gradient(theta, gradient), log_std_gradient - settings.ent_coef]
        ).astype(theta.dtype)
        whole = clip(whole, global_norm(whole), settings.max_grad_norm)
        x = np.concatenate([self._coordinates.of(theta), log_std])
        own = {name: state[f"policy.{name}"] for name in self._adam.NAMES}
        x, own = self._adam.step(x, whole, own, step, rate)
        theta[:] = self._bounds(self._coordinates.theta(x[: theta.size]))
        log_std[:] = np.maximum(x[theta.size :], math.log(settings.min_std))
        state |= {f"policy.{name}": array for name, array in own.items()}

    def _step_critic(self, state: State, gradient: Array, step: int, rate: float) -> None:
        gradient = clip(gradient, global_norm(gradient), self.settings.max_grad_norm)
        own = {name: state[f"critic.{name}"] for name in self._adam.NAMES}
        state["critic"], own = self._adam.step(state["critic"], gradient, own, step, rate)
        state |= {f"critic.{name}": array for name, array in own.items()}

    def _check(self, theta: Array, state: State, number: int) -> None:
        for name, array in {"theta": theta, "log_std": state["log_std"], "critic": state["critic"]}.items():
            if not finite(array):
                raise DivergedError(f"epoch {number}: {name} is not finite; allowed: finite parameters")
