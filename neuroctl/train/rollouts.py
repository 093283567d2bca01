"""Text of the kernel that lets a policy act in a plant: a group of lanes for some steps, episode after episode.

A controller steps without limits, in units of half the range of its outputs. An action is drawn around its outputs,
normally and with deviations that do not depend on the state, and clipped to the range; so the controller that is
written, whose limits clip its outputs, does what was trained but for the noise. (A hyperbolic tangent in place of the
clip would be a function more to compute on a board, with outputs that reach their limits never.)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from neuroctl.backends.kernels import build, head
from neuroctl.backends.lanes import lane_loop
from neuroctl.backends.plant import Plant
from neuroctl.cells import cell_of
from neuroctl.maths.packs import any_lane, load, select, store
from neuroctl.maths.scalars import zero
from neuroctl.maths.subnormals import flush, restore
from neuroctl.spec import Spec


@lru_cache(maxsize=64)
def rollout_kernel(spec: Spec, plant: Plant) -> Any:
    """Return the module whose ``collect`` steps a group of lanes: generated, or from the cache.

    Args:
        spec: of the controller, without limits.
        plant: what it acts in.

    """
    cell = cell_of(spec)
    functions: dict[str, Any] = {
        "_prepare": cell.prepare, "_step_prepared": cell.step_prepared, "_load": load, "_store": store,
        "_select": select, "_zero": zero, "_any_lane": any_lane, "_flush": flush, "_restore": restore,
    }  # fmt: skip
    title = f"{spec.cell}, {spec.dtype}, acting in {plant.name}"
    counts = {
        "x": len(plant.start),
        "actions": plant.actions,
        "raw": plant.observations,
        "seen": plant.critic_observations,
    }
    x, y, u, c = (", ".join(f"{name}[{i}]" for i in range(count)) for name, count in counts.items())
    substeps = plant.substeps if plant.has("derivative") else 1
    text = head(functions, spec.dtype, title, plant) + "".join(
        [
            lane_loop(plant, "_observe_lanes", "observe({x})", "u"),
            lane_loop(plant, "_critic_lanes", "critic({x})", "c"),
            lane_loop(plant, "_step_lanes", "_next({x}, {y}, h)", "x", "h"),
            lane_loop(plant, "_judge_lanes", "reward({x}, {y}), done({x})", None, _JUDGED, _JUDGE),
        ]
    )
    return build(
        text + _COLLECT.format(x=x, y=y, u=u, c=c, substeps=substeps), f"ppo_{spec.cell}_{plant.name}_{spec.dtype}"
    )


_JUDGED: Final = "rewards, ended, cut, fresh, age, total, gathered, gatherings, gamma, last"
_JUDGE: Final = """
        age[p] += _F(1)
        late = age[p] >= last
        rewards[p] = new[0]
        total[p] += new[0]
        gathered[p] = gamma * gathered[p] + new[0]
        gatherings[p] = gathered[p]
        ended[p] = _F(1) if new[1] else _F(0)
        cut[p] = _F(1) if late and not new[1] else _F(0)
        fresh[p] = _F(1) if late or new[1] else _F(0)
"""

_COLLECT: Final = """

@_jit_rows
def _normalize(raw, mean, factor, out):
    for p in range(_U(raw.shape[0])):
        out[p] = (raw[p] - mean) * factor


@_jit_rows
def _copy_row(source, target):
    for p in range(_U(source.shape[0])):
        target[p] = source[p]


@_jit_rows
def _draw(mean, noise, log_std, std, middle, half, memory, keeps, adds, z, action, probability):
    for p in range(_U(noise.shape[0])):
        e = keeps * memory[p] + adds * noise[p]
        memory[p] = e
        value = mean[p] + std * e
        z[p] = value
        value = _F(-1) if value < _F(-1) else value
        value = _F(1) if value > _F(1) else value
        action[p] = middle + half * value
        probability[p] -= _F(0.5) * e * e + log_std


@_jit_step
def _begin_lanes(x, begin, taken, fresh, age):
    for p in range(fresh.shape[0]):
        if fresh[p] != 0:
            for k in range(x.shape[0]):
                x[k, p] = begin[taken[p] % begin.shape[0], k, p]
            taken[p] += 1
            age[p] = _F(0)


@_jit_step
def _end_lanes(fresh, age, total, gathered, figures):
    for p in range(fresh.shape[0]):
        if fresh[p] != 0:
            figures[0] += 1.0
            figures[1] += total[p]
            figures[2] += age[p]
            total[p], gathered[p] = _F(0), _F(0)


@_jit
def _begin_states(here, start, state):
    for i in range(_U(state.shape[0])):
        _store(state, i, _select(here, _load(start, i), _load(state, i)))


@_jit_step
def _any_of(flags):
    count = 0
    for p in range(_U(flags.shape[0])):
        count += 1 if flags[p] != 0 else 0
    return count > 0


@_jit_step
def collect(
    theta, state, start, ints, floats, x, begin, taken, age, fresh, memory, total, gathered, noise, input_scale,
    critic_scale, policy, settings, last, raw, seen, u, u_packs, means, mean_packs, actions, c, resets, reset_packs,
    target, rewards, ended, cut, gatherings, firsts, every, at_cut, cut_steps, figures,
):
    mode = _flush()
    _prepare(theta, state, ints, floats)
    _prepare(theta, start, ints, floats)
    q, cuts, gamma = actions.shape[0], 0, settings[1]
    h = settings[0] / _F({substeps})
    for t in range(rewards.shape[0]):
        if t % every == 0:
            for k in range(_U(state.shape[0])):
                _store(firsts[t // every], k, _load(state, k))
        _copy_row(fresh, resets[t])
        here = _load(reset_packs, t) != _zero(_load(reset_packs, t))
        if _any_lane(here):
            _begin_lanes(x, begin, taken, fresh, age)
            _begin_states(here, start, state)
        _observe_lanes({x}, {u})
        for k in range(raw.shape[0]):
            _normalize(raw[k], input_scale[0, k], input_scale[1, k], u[t, k])
        _critic_lanes({x}, {c})
        for k in range(seen.shape[0]):
            _normalize(seen[k], critic_scale[0, k], critic_scale[1, k], c[t, k])
        _step_prepared(theta, state, u_packs[t], mean_packs, ints, floats)
        for p in range(_U(fresh.shape[0])):
            target[t, q, p] = _F(0)
        for k in range(q):
            _draw(
                means[k], noise[t, k], policy[0, k], policy[1, k], policy[2, k], policy[3, k], memory[k], settings[2],
                settings[3], target[t, k], actions[k], target[t, q],
            )
        for _ in range({substeps}):
            _step_lanes({x}, {y}, h)
        _judge_lanes(
            {x}, {y}, rewards[t], ended[t], cut[t], fresh, age, total, gathered, gatherings[t], gamma, last
        )
        if _any_of(fresh):
            if _any_of(cut[t]):
                _critic_lanes({x}, {c})
                for k in range(seen.shape[0]):
                    _normalize(seen[k], critic_scale[0, k], critic_scale[1, k], at_cut[cuts, k])
                cut_steps[cuts] = t
                cuts += 1
            _end_lanes(fresh, age, total, gathered, figures)
    _critic_lanes({x}, {c})
    for k in range(seen.shape[0]):
        _normalize(seen[k], critic_scale[0, k], critic_scale[1, k], c[rewards.shape[0], k])
    _restore(mode)
    return cuts
"""
