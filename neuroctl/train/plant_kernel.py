"""Text of the loops over lanes that take a plant forward and back, and of the kernels that run them.

Lanes are columns: x ``[S, L]``, actions ``[q, L]``, observations ``[m, L]``. What goes from a step to the next is read
from one array and written to another, so that LLVM vectorizes the loops. The forward functions are the plant's own; the
way back is their adjoint, see ``neuroctl.tracing``. Runge-Kutta's stages are computed again on the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from neuroctl.backends.kernels import build, head
from neuroctl.backends.plant import Plant
from neuroctl.errors import PlantError
from neuroctl.spec import Spec
from neuroctl.tracing import Text, adjoint_of
from neuroctl.train.kernel import Hooks, hooked_text

Functions = dict[str, Callable[..., Any]]


@lru_cache(maxsize=64)
def plant_gradient_kernel(spec: Spec, plant: Plant) -> Any:
    """Return the module whose ``run`` takes a block of lanes through time and back: generated, or from the cache.

    Raises:
        SpecError: the cell has no gradient.
        PlantError: a function of the plant cannot be taken back through.

    """
    functions, text = _lanes_text(plant)
    return build(
        hooked_text(spec, plant, functions, text, _hooks(plant)), f"gradient_{spec.cell}_{plant.name}_{spec.dtype}"
    )


@lru_cache(maxsize=64)
def open_loop_kernel(plant: Plant, dtype: str) -> Any:
    """Return the module whose ``forward`` and ``back`` take a plant through actions that are given.

    Raises:
        PlantError: a function of the plant cannot be taken back through.

    """
    functions, text = _lanes_text(plant)
    title = f"gradients of {plant.name} under given actions, {dtype}"
    return build(
        head(functions, dtype, title, plant) + text + _OPEN_LOOP.replace("SUBSTEPS", str(substeps_of(plant))),
        f"actions_{plant.name}_{dtype}",
    )


def substeps_of(plant: Plant) -> int:
    """Return how many states a control step leads through."""
    return plant.substeps if plant.has("derivative") else 1


def check_cost(plant: Plant) -> None:
    """Refuse a plant that does not say what is to be small.

    Raises:
        PlantError: it has neither cost nor reward.

    """
    if not plant.has("cost") and not plant.has("reward"):
        raise PlantError(f"{plant.name}.cost: missing; allowed for a gradient: cost(x, a), or reward(x, a)")


def _adjoints(plant: Plant) -> list[Text]:
    """Return the adjoints of the plant's step or derivative, of its cost, and of what it observes."""
    x, a = ("x", len(plant.start)), ("a", plant.actions)
    move = ("step", (x, a, ("dt_s", None))) if plant.has("step") else ("derivative", (x, a))
    texts = [adjoint_of(plant, *move, ("x", "a")), adjoint_of(plant, "observe", (x,), ("x",))]
    if (cost := _cost_name(plant)) is not None:
        texts.append(adjoint_of(plant, cost, (x, a), ("x", "a"), minus=cost == "reward"))
    return texts


def _cost_name(plant: Plant) -> str | None:
    """Return which of a plant's functions says what is to be small; None: none does."""
    return next((name for name in ("cost", "reward") if plant.has(name)), None)


def _row(name: str, count: int) -> str:
    """Return a tuple of one lane's numbers."""
    return "(" + "".join(f"{name}[{i}, p], " for i in range(count)) + ")"


def _tuple(values: Sequence[str]) -> str:
    return "(" + "".join(f"{value}, " for value in values) + ")"


def _next_back(plant: Plant) -> str:
    """Return ``_next_back(x, a, h, bar)``: the change with x and a, of a step of the plant or of Runge-Kutta's."""
    size, q = len(plant.start), plant.actions
    if plant.has("step"):
        return "@_jit\ndef _next_back(x, a, h, bar):\n    return _step_back(x, a, h, bar)"
    xs, whole = range(size), range(size + q)

    def moved(slope: str, part: str) -> str:
        return _tuple([f"x[{i}] + {part} * {slope}[{i}]" for i in xs])

    def stage(k: int, part: str, later: str) -> str:
        bars = [f"{part} * bar[{i}]" + (f" + {later} * b{k + 1}[{i}]" if later else "") for i in xs]
        return f"    b{k} = _derivative_back({'x' if k == 1 else f'x{k}'}, a, {_tuple(bars)})"

    total = [(f"bar[{i}] + " if i < size else "") + f"(b1[{i}] + b2[{i}] + (b3[{i}] + b4[{i}]))" for i in whole]
    return "\n".join(
        [
            "@_jit",
            "def _next_back(x, a, h, bar):",
            "    half, sixth, third = _F(0.5) * h, h / _F(6), h / _F(3)",
            "    k1 = derivative(x, a)",
            f"    x2 = {moved('k1', 'half')}",
            "    k2 = derivative(x2, a)",
            f"    x3 = {moved('k2', 'half')}",
            "    k3 = derivative(x3, a)",
            f"    x4 = {moved('k3', 'h')}",
            stage(4, "sixth", ""),
            stage(3, "third", "h"),
            stage(2, "third", "half"),
            stage(1, "sixth", "half"),
            f"    return {_tuple(total)}",
        ]
    )


def _loop(name: str, arguments: str, over: str, body: str, **written: Sequence[str]) -> str:
    """Return a function that does something for each lane.

    The rows that it writes are arguments of their own, and given by the function with the same name without ``_lanes``:
    of rows of one array LLVM does not see that they are apart.
    """
    rows = {f"{array}{i}": value for array, values in written.items() for i, value in enumerate(values)}
    puts = "".join(f"        {row}[p] = {value}\n" for row, value in rows.items())
    whole = ", ".join([arguments, *written])
    parts = ", ".join([arguments, *(f"{array}[{i}]" for array, values in written.items() for i in range(len(values)))])
    return (
        f"@_jit_rows\ndef {name}_lanes({', '.join([arguments, *rows])}):\n    for p in range(_U({over}.shape[1])):\n"
        f"{body}{puts}\n\n@_jit\ndef {name}({whole}):\n    {name}_lanes({parts})\n"
    )


def _lanes_text(plant: Plant) -> tuple[Functions, str]:
    """Return the functions that the lanes' loops call, and their text."""
    adjoints = _adjoints(plant)
    functions: Functions = {name: call for text in adjoints for name, call in text.functions.items()}
    steps = _STEPS.replace("SUBSTEPS", str(substeps_of(plant)))
    parts = [*(each.lines for each in adjoints), _next_back(plant), *_ahead(plant), *_back(plant), steps]
    return functions, "\n\nimport math\n\n" + "\n\n".join(parts)


def _ahead(plant: Plant) -> list[str]:
    """Return the loops that go forward."""
    size, q, m = len(plant.start), plant.actions, plant.observations
    x, a = _row("x", size), _row("a", q)
    kept = [f"new[{i}] if alive[p] != _F(0) else x[{i}, p]" for i in range(size)]
    clips, clipped = "".join(_CLIP.format(i=i) for i in range(q)), [f"v{i}" for i in range(q)]
    return [
        _loop("_observe", "x", "x", f"        new = observe({x})\n", u=_entries("new", m)),
        _loop("_act", "out, low, high", "out", clips, a=clipped),
        _loop("_move", "x, a, alive, h", "x", f"        new = _next({x}, {a}, h)\n", after=kept),
        f"@_jit_rows\ndef _end(x, alive, after):\n    for p in range(_U(x.shape[1])):\n"
        f"        over = done({x})\n{_END}",
        f"@_jit_rows\ndef _pay(x, a, alive, after, share, left, shares, losses):\n"
        f"    for p in range(_U(x.shape[1])):\n        value = cost({x}, {a})\n{_COST}",
    ]


def _back(plant: Plant) -> list[str]:
    """Return the loops that go back."""
    size, q, m = len(plant.start), plant.actions, plant.observations
    x, a, bar = _row("x", size), _row("a", q), _row("bar", size)
    gained = _tuple([f"du[{i}, p] * gains[{i}]" for i in range(m)])
    seen = [f"bar[{i}, p] + (new[{i}] if alive[p] != _F(0) else _F(0))" for i in range(size)]
    bars = [f"new[{i}] if alive[p] != _F(0) else bar[{i}, p]" for i in range(size)]
    pushes = [f"push[{i}, p] + (new[{size + i}] if alive[p] != _F(0) else _F(0))" for i in range(q)]
    paid = [f"decay * bar[{i}, p] + (new[{i}] if counts else _F(0))" for i in range(size)]
    first = [f"new[{size + i}] if counts else _F(0)" for i in range(q)]
    clips, clipped = "".join(_CLIP_BACK.format(i=i) for i in range(q)), [f"d{i}" for i in range(q)]
    back = f"_{name}_back({x}, {a}, (shares[p],))" if (name := _cost_name(plant)) else _tuple(["_F(0)"] * (size + q))
    cost = f"        new = {back}\n        counts = shares[p] != _F(0)\n"
    move = f"        new = _next_back({x}, {a}, h, {bar})\n"
    see = f"        new = _observe_back({x}, {gained})\n"
    return [
        _loop("_act_back", "out, low, high, push", "out", clips, d_out=clipped),
        _loop("_pay_back", "x, a, shares, decay, bar", "x", cost, bar_out=paid, push_out=first),
        _loop("_move_back", "x, a, alive, h, bar, push", "x", move, bar_out=bars, push_out=pushes),
        _loop("_see_back", "x, du, gains, alive, bar", "x", see, bar_out=seen),
    ]


def _entries(name: str, count: int) -> list[str]:
    return [f"{name}[{i}]" for i in range(count)]


# NaN goes through a clip as it is: compared, it is neither too low nor too high.
_CLIP: Final = """        v{i} = out[{i}, p]
        v{i} = low[{i}] if v{i} < low[{i}] else v{i}
        v{i} = high[{i}] if v{i} > high[{i}] else v{i}
"""
# A change passes where the output lies within its limits, and beyond them where it leads back.
_CLIP_BACK: Final = """        v{i}, d{i} = out[{i}, p], push[{i}, p]
        passes{i} = (v{i} >= low[{i}] or d{i} < _F(0)) and (v{i} <= high[{i}] or d{i} > _F(0))
        d{i} = d{i} if passes{i} else _F(0)
"""
_END: Final = "        after[p] = _F(0) if over else alive[p]\n"
# What ends pays for all the steps that are left, and then nothing.
_COST: Final = """        w = share[p] * (left if after[p] == _F(0) else _F(1))
        w = w if alive[p] != _F(0) else _F(0)
        shares[p] = w
        losses[p] += w * value if w != _F(0) else _F(0)
"""

_STEPS: Final = """
@_jit_step
def _plant_ahead(t, out, low, high, x, a, alive, h):
    _act(out[t], low, high, a[t])
    for k in range(t * SUBSTEPS, (t + 1) * SUBSTEPS):
        _move(x[k], a[t], alive[t], h, x[k + 1])
    _end(x[(t + 1) * SUBSTEPS], alive[t], alive[t + 1])


@_jit_step
def _plant_costs(steps, x, a, alive, share, shares, losses):
    for t in range(steps):
        _pay(x[(t + 1) * SUBSTEPS], a[t], alive[t], alive[t + 1], share, _F(steps - t), shares[t], losses)


@_jit_step
def _plant_back(t, x, a, alive, h, shares, decay, bar, push):
    # bar[0] holds the change with the state after the step; bar[1] and bar[2] are read and written in turn.
    _pay_back(x[(t + 1) * SUBSTEPS], a[t], shares[t], decay, bar[0], bar[1], push[1])
    now = 1
    for k in range((t + 1) * SUBSTEPS - 1, t * SUBSTEPS - 1, -1):
        _move_back(x[k], a[t], alive[t], h, bar[now], push[now], bar[3 - now], push[3 - now])
        now = 3 - now
    return now
"""


def _hooks(plant: Plant) -> Hooks:
    each = substeps_of(plant)
    return Hooks(
        arguments="u_rows, out_rows, d_out_rows, du_rows, low, high, gains, x, a, alive, h, bar, push, share, shares, "
        "decay",
        before=f"""
        _observe(x[t * {each}], u_rows[t])""",
        after="""
        _plant_ahead(t, out_rows, low, high, x, a, alive, h)""",
        costs="""
    _plant_costs(steps, x, a, alive, share, shares, losses)""",
        before_back="""
        now = _plant_back(base + t, x, a, alive, h, shares, decay, bar, push)
        _act_back(out_rows[base + t], low, high, push[now], d_out_rows[base + t])""",
        after_back=f"""
        _see_back(x[(base + t) * {each}], du_rows[base + t], gains, alive[base + t], bar[now], bar[0])""",
    )


_OPEN_LOOP: Final = """

@_jit_rows
def _copy_row(source, target):
    for p in range(_U(source.shape[0])):
        target[p] = source[p]


@_jit_step
def forward(x, a, alive, h, share, shares, losses, u):
    for t in range(a.shape[0]):
        for k in range(t * SUBSTEPS, (t + 1) * SUBSTEPS):
            _move(x[k], a[t], alive[t], h, x[k + 1])
        _end(x[(t + 1) * SUBSTEPS], alive[t], alive[t + 1])
        _observe(x[(t + 1) * SUBSTEPS], u[t])
    _plant_costs(a.shape[0], x, a, alive, share, shares, losses)


@_jit_step
def back(x, a, alive, h, shares, bar, push, du, gains, d_a):
    now = 1
    for t in range(a.shape[0] - 1, -1, -1):
        # What is observed after step t changes with the state that step t led to, or stayed in.
        _see_back(x[(t + 1) * SUBSTEPS], du[t], gains, alive[0], bar[now], bar[0])
        now = _plant_back(t, x, a, alive, h, shares, _F(1), bar, push)
        for i in range(a.shape[1]):
            _copy_row(push[now, i], d_a[t, i])
    return now
"""
