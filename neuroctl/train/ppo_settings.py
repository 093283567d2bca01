"""Settings of PPO, by the names that cleanrl gives them, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from neuroctl.checks import ABOVE_0, FINITE, flag, integer, number, one_of
from neuroctl.errors import TrainingError

_BELOW_1 = math.nextafter(1.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """Settings of ``PPO``.

    Args:
        total_timesteps: steps of the plant in all, after which no epoch begins; None: no end.
        num_envs: plants side by side; rounded up to a whole number of groups of 32 (16 in float64).
        num_steps: steps of each between two updates.
        seq_len: steps that a gradient goes back, of which num_steps is a multiple; None: num_steps.
        num_minibatches: parts of the sequences, each for one step of the optimizer.
        update_epochs: how often the sequences of an update are gone through.
        learning_rate: of Adam, for the policy.
        anneal_lr: whether it falls linearly to 0 at total_timesteps.
        critic_learning_rate: of the critic; None: learning_rate. It falls alike.
        gamma: discount a step.
        gae_lambda: of the advantages.
        clip_coef: how far the probability of an action may change in an update, as a share.
        norm_adv: whether the advantages of an update are scaled to mean 0 and variance 1.
        ent_coef: of the entropy, which keeps deviations up.
        vf_coef: of the critic's loss, half the mean square of its errors; as policy and critic share no weights and are
            clipped apart, it matters with max_grad_norm only.
        max_grad_norm: largest norm of a gradient.
        target_kl: mean divergence of the policy beyond 1.5 times which an update stops; None: never.
        bound_coef: of the squares by which means lie beyond the outputs' range.
        init_std: deviation of actions at first, in units of half the range.
        min_std: smallest deviation.
        noise_memory: correlation of the noise from a step to the next, from 0, white, to less than 1: what pushes one
            way for a while gets further.
        norm_obs: whether inputs are normalized, see ``normalizer.InputNormalizer``; the first epoch then only watches.
        norm_reward: whether rewards are divided by the deviation of their discounted sums.
        critic_neurons: of each layer of the critic.
        critic_layers: of the critic.
        validation_episodes: number of unseen starts that the best is chosen by.
        validate_every: epochs between two validations; None: about 50 in all, or every 4th without total_timesteps.

    Raises:
        TrainingError: a setting is not allowed.

    Example:
        >>> PPOSettings(num_envs=64, gamma=0.98).minibatch_steps
        1024

    """

    total_timesteps: int | None = None
    num_envs: int = 64
    num_steps: int = 64
    seq_len: int | None = None
    num_minibatches: int = 4
    update_epochs: int = 6
    learning_rate: float = 3e-3
    anneal_lr: bool = True
    critic_learning_rate: float | None = None
    gamma: float = 0.98
    gae_lambda: float = 0.95
    clip_coef: float = 0.2
    norm_adv: bool = True
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float | None = 0.03
    bound_coef: float = 0.01
    init_std: float = 0.6
    min_std: float = 0.05
    noise_memory: float = 0.0
    norm_obs: bool = True
    norm_reward: bool = True
    critic_neurons: int = 32
    critic_layers: int = 1
    validation_episodes: int = 64
    validate_every: int | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        for name in ("num_envs", "num_steps", "num_minibatches", "update_epochs", "critic_neurons", "critic_layers",
                     "validation_episodes"):  # fmt: skip
            self._set(name, integer(name, getattr(self, name), 1, error=TrainingError))
        for name in ("total_timesteps", "seq_len", "validate_every"):
            if getattr(self, name) is not None:
                self._set(name, integer(name, getattr(self, name), 1, error=TrainingError))
        for name in ("anneal_lr", "norm_adv", "norm_obs", "norm_reward"):
            flag(name, getattr(self, name), error=TrainingError)
        positive = ("learning_rate", "critic_learning_rate", "clip_coef", "max_grad_norm", "target_kl", "init_std",
                    "min_std")  # fmt: skip
        for name in positive:
            if getattr(self, name) is not None:
                self._set(name, number(name, getattr(self, name), ABOVE_0, FINITE, "above 0", error=TrainingError))
        for name in ("ent_coef", "vf_coef", "bound_coef"):
            self._set(name, number(name, getattr(self, name), 0.0, FINITE, "from 0 on", error=TrainingError))
        for name in ("gamma", "gae_lambda"):
            self._set(name, number(name, getattr(self, name), 0.0, 1.0, "0 to 1", error=TrainingError))
        memory = number("noise_memory", self.noise_memory, 0.0, _BELOW_1, "0 to less than 1", error=TrainingError)
        self._set("noise_memory", memory)
        if self.num_steps % self.sequence:
            allowed = f"a divisor of num_steps, {self.num_steps}"
            raise TrainingError(f"seq_len: {self.seq_len}; allowed: {allowed}")

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def sequence(self) -> int:
        """Steps of a sequence."""
        return self.seq_len or self.num_steps

    @property
    def minibatch_steps(self) -> int:
        """Steps of the plant for a step of the optimizer."""
        return self.num_envs * self.num_steps // self.num_minibatches

    @classmethod
    def check(cls, given: Mapping[str, Any]) -> PPOSettings:
        """Return settings of those given by name.

        Raises:
            TrainingError: a name is unknown, or a setting not allowed.

        """
        names = [field.name for field in fields(cls)]
        for name in given:
            one_of("setting", name, names, error=TrainingError)
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON types."""
        return asdict(self)
