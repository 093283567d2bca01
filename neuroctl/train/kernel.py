"""Text of the kernel that goes through time and back, with a cell's step and its adjoint: the only such loop.

A run of T steps is cut into segments. Each one's first state is kept, and what its steps leave for the way back, the
tape, is of one segment at a time: all but the last are stepped through again on the way back.

Where episodes begin within a sequence, the tape has two rows a step: what the step found, which may be a start, and
what it left. Going back, what an episode's steps add up to is put aside where it began, and the carry begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from neuroctl.backends.kernels import build, head
from neuroctl.backends.plant import Plant
from neuroctl.cells import adjoint_of, cell_of, integer_of
from neuroctl.maths.fixed import quantized
from neuroctl.maths.packs import any_lane, load, select, store
from neuroctl.maths.scalars import zero
from neuroctl.maths.transposed import add_outer, add_rows, transposed
from neuroctl.spec import Spec
from neuroctl.train.losses import add_loss

Functions = dict[str, Callable[..., Any]]


@dataclass(frozen=True)
class Hooks:
    """What a kernel does besides stepping the cell, in text.

    Args:
        arguments: of ``run``, and of the passes forward and back, behind theta.
        before: what comes before the cell's step t.
        after: what comes after it.
        costs: what comes after all steps.
        before_back: what comes before going back over step ``base + t``, for the change with its outputs.
        after_back: what comes after it, from the change with its inputs.

    """

    arguments: str
    before: str
    after: str
    costs: str
    before_back: str
    after_back: str

    def into(self, text: str) -> str:
        """Return a text with these in the places of its marks."""
        marks = {
            "PREPARE": "_prepare(theta, state, ints, floats)", "EPISODES, ": f"{self.arguments}, base, ",
            "EPISODES_FROM_FIRST, ": f"{self.arguments}, first, ", "_CUT": self.after_back,
            "_BEFORE_STEP": self.before, "_AFTER_STEP": self.after, "_COSTS": self.costs,
            "_BEFORE_BACK": self.before_back,
        }  # fmt: skip
        return _marked(text, marks)


@lru_cache(maxsize=64)
def gradient_kernel(spec: Spec) -> Any:
    """Return the module whose ``run`` works on a block of lanes: generated, or from the cache.

    Raises:
        SpecError: the cell has no gradient.

    """
    return build(loop_text(spec), f"gradient_{spec.cell}_{spec.dtype}")


@lru_cache(maxsize=64)
def episodes_kernel(spec: Spec) -> Any:
    """Return the module whose ``run`` works on a block of lanes in which episodes begin at any step.

    Its arguments between theta and state are those of ``blocks.Episodes``.

    Raises:
        SpecError: the cell has no gradient.

    """
    return build(loop_text(spec, resets=True), f"episodes_gradient_{spec.cell}_{spec.dtype}")


@lru_cache(maxsize=64)
def policy_kernel(spec: Spec) -> Any:
    """Return the module whose ``run`` is that of ``episodes_kernel``, with the loss of ``policy_loss``.

    Two arguments more come before the state: its settings and its figures.

    Raises:
        SpecError: the cell has no gradient.

    """
    text = loop_text(spec, resets=True).replace("spare, rest,", "spare, rest, settings, figures,")
    text = text.replace(
        "_add_loss(code, lanes_out, target, weight, lanes_d_out, losses)",
        "_add_policy_loss(settings, lanes_out, target, lanes_d_out, figures)",
    )
    own = "from neuroctl.train.policy_loss import add_policy_loss as _add_policy_loss\n"
    text = text.replace("import numpy as np\n", f"import numpy as np\n{own}", 1)
    return build(text, f"policy_gradient_{spec.cell}_{spec.dtype}")


@lru_cache(maxsize=64)
def integer_gradient_kernel(spec: Spec) -> Any:
    """Return the module whose ``run`` steps in integers and goes back through the float adjoint.

    Its arguments between theta and state are those of ``engine.Integers``, and three views of a block.

    Raises:
        SpecError: the cell has no gradient, or no fixed-point form.

    """
    form, title = integer_of(spec), f"gradients of {spec.cell} stepped in fixed point, {spec.dtype}"
    functions: dict[str, Any] = {"_step_prepared_q": form.step_prepared_q, "_quantized": quantized}
    text = head(functions | _back_functions(spec), spec.dtype, title) + _marked(_INTEGER_FORWARD + _TEXT, {})
    return build(text.replace("theta, MODEL", f"theta, {_MODEL}"), f"fixed_gradient_{spec.cell}_{spec.dtype}")


def loop_text(spec: Spec, *, resets: bool = False) -> str:
    """Return the text of ``run``, which is the same for lanes on a CPU and for a thread of a GPU.

    ``resets``: whether episodes begin within sequences.
    """
    functions: Functions = {"_select": select, "_zero": zero, "_any_lane": any_lane} if resets else {}
    steps = _marked((_FORWARD_RESETS if resets else _FORWARD) + _TEXT, _WITH_RESETS if resets else {})
    text = _head(spec, functions) + _COPIES + steps
    return text.replace("theta, MODEL", f"theta, {_RESETS}" if resets else "theta")


def hooked_text(spec: Spec, plant: Plant, functions: Functions, text: str, hooks: Hooks) -> str:
    """Return the text of ``run`` with a plant: ``text``, which calls ``functions``, and what the hooks do."""
    text = _head(spec, functions, plant) + text + _COPIES + hooks.into(_FORWARD + _TEXT)
    return text.replace("theta, MODEL", f"theta, {hooks.arguments}")


def _head(spec: Spec, more: Functions, plant: Plant | None = None) -> str:
    cell = cell_of(spec)
    functions = {"_prepare": cell.prepare, "_step_prepared": cell.step_prepared, **_back_functions(spec), **more}
    title = f"gradients of {spec.cell}, {spec.dtype}" + (f", through {plant.name}" if plant else "")
    return head(functions, spec.dtype, title, plant)


def _marked(text: str, marks: Mapping[str, str]) -> str:
    """Return a text with what stands for its marks; where nothing does, as ``_PLAIN`` says, or nothing."""
    for name in _WITH_RESETS:
        text = text.replace(name, marks.get(name, _PLAIN.get(name, "")))
    return text


def _back_functions(spec: Spec) -> dict[str, Any]:
    adjoint = adjoint_of(spec)
    return {
        "_begin": adjoint.begin, "_backward": adjoint.backward, "_finish": adjoint.finish, "_load": load,
        "_store": store, "_add_outer": add_outer, "_add_rows": add_rows, "_transposed": transposed,
        "_add_loss": add_loss,
    }  # fmt: skip


_COPIES: Final = """

@_jit
def _copy_state(source, target):
    for i in range(_U(source.shape[0])):
        _store(target, i, _load(source, i))


@_jit
def _copy_rows(pieces, source, tape, at):
    for p in range(pieces.shape[0]):
        start, to = _U(pieces[p, 0]), _U(at + pieces[p, 1])
        for i in range(_U(pieces[p, 2])):
            _store(tape, to + i, _load(source, start + i))
"""

_FORWARD: Final = """

@_jit
def _forward(theta, MODEL, state, u, out, first, last, taped, pieces, tape, row, ints, floats):
    if taped:
        _copy_rows(pieces, state, tape, 0)
    for t in range(first, last):_BEFORE_STEP
        _step_prepared(theta, state, u[t], out[t], ints, floats)_AFTER_STEP
        if taped:
            _copy_rows(pieces, state, tape, (t + 1 - first) * row)
"""

_RESETS: Final = "resets, start, begun, aside, spare, rest"

# ``resets``: not 0 where an episode begins at a step. A latched fault stays, so that none goes unnoticed.
_FORWARD_RESETS: Final = """

@_jit
def _begin_episodes(here, start, state):
    for i in range(_U(state.shape[0] - 1)):
        _store(state, i, _select(here, _load(start, i), _load(state, i)))


@_jit
def _forward(theta, MODEL, state, u, out, first, last, taped, pieces, tape, row, ints, floats):
    for t in range(first, last):
        here = _load(resets, t) != _zero(_load(resets, t))
        if _any_lane(here):
            _begin_episodes(here, start, state)
        if taped:
            _copy_rows(pieces, state, tape, (t - first) * 2 * row)
        _step_prepared(theta, state, u[t], out[t], ints, floats)
        if taped:
            _copy_rows(pieces, state, tape, (t - first) * 2 * row + row)


@_jit
def _put_aside(here, theta, tape, at, carry, begun, aside, spare, ints, floats):
    _copy_state(carry, spare)
    _finish(theta, tape, at, spare, ints, floats)
    for i in range(_U(carry.shape[0])):
        none = _zero(_load(carry, i))
        _store(aside, i, _load(aside, i) + _select(here, _load(spare, i), none))
        _store(carry, i, _select(here, _load(begun, i), _load(carry, i)))
"""

_PLAIN: Final = {"PITCH": "row", "PREPARE": "_prepare(theta, MODEL, state, ints, floats)"}
_WITH_RESETS: Final = {
    "PITCH": "2 * row",
    "PREPARE": """_prepare(theta, state, ints, floats)
    _prepare(theta, start, ints, floats)""",
    "_NOTE_BEGUN": """
    _copy_state(carry, begun)""",
    "_CUT": """
        here = _load(resets, t) != _zero(_load(resets, t))
        if _any_lane(here):
            _put_aside(here, theta, tape, t * 2 * row, carry, begun, aside, spare, ints, floats)""",
    "_ADD_ASIDE": """
    for k in range(rest.shape[0]):
        _add_rows(aside, rest[k, 0], grad, rest[k, 1], rest[k, 2])""",
    "EPISODES_FROM_FIRST, ": "resets[first:], start, begun, aside, spare, rest, ",
    "EPISODES, ": f"{_RESETS}, ",
    "_BEFORE_STEP": "", "_AFTER_STEP": "", "_COSTS": "", "_BEFORE_BACK": "",
}  # fmt: skip

_MODEL: Final = "theta_q, ints_q, offset, gain, lows, highs, lsbs, out_gains, out_offsets, u_rows, out_rows, tape_rows"

# The state of R packs [R, S + m + q, W]: the cell's, then raw inputs and outputs. ``lsbs``: of the inputs, and of
# each piece. What is taped are the numbers that the integers stand for; a piece may add to what is there.
_INTEGER_FORWARD: Final = """

@_jit_step
def _prepare(theta, MODEL, state, ints, floats):
    pass  # a start is prepared


@_jit_rows
def _copy_words(source, target):
    for p in range(_U(source.shape[0])):
        target[p] = source[p]


@_jit_step
def _copy_state(source, target):
    for r in range(source.shape[0]):
        for k in range(source.shape[1]):
            _copy_words(source[r, k], target[r, k])


@_jit_rows
def _quantize_row(u, offset, gain, lsb, low, high, out):
    for p in range(_U(u.shape[0])):
        out[p] = _quantized(u[p], offset, gain, lsb, low, high)


@_jit_rows
def _dequantize_row(q, lsb, out):
    for p in range(_U(q.shape[0])):
        out[p] = _F(np.float64(q[p]) * lsb)


@_jit_rows
def _scale_row(q, gain, offset, out):
    for p in range(_U(q.shape[0])):
        out[p] = _F(np.float64(q[p]) * gain + offset)


@_jit_rows
def _add_dequantized(q, lsb, out):
    for p in range(_U(q.shape[0])):
        out[p] += _F(np.float64(q[p]) * lsb)


@_jit_step
def _tape_rows(pieces, lsbs, state, tape, at):
    for p in range(pieces.shape[0]):
        start, to = pieces[p, 0], at + pieces[p, 1]
        for i in range(pieces[p, 2]):
            for r in range(state.shape[0]):
                if pieces[p, 3] == 0:
                    _dequantize_row(state[r, start + i], lsbs[1 + p], tape[to + i, r])
                else:
                    _add_dequantized(state[r, start + i], lsbs[1 + p], tape[to + i, r])


@_jit_step
def _forward(theta, MODEL, state, u, out, first, last, taped, pieces, tape, row, ints, floats):
    m, q = u_rows.shape[1], out_rows.shape[1]
    size = state.shape[1] - m - q
    if taped:
        _tape_rows(pieces, lsbs, state, tape_rows, 0)
    for t in range(first, last):
        for r in range(state.shape[0]):
            own = state[r]
            for i in range(m):
                _quantize_row(u_rows[t, i, r], offset[i], gain[i], lsbs[0], lows[i], highs[i], own[size + i])
            _step_prepared_q(theta_q, own[:size], own[size:size + m], own[size + m:], ints_q)
            for i in range(q):
                _scale_row(own[size + m + i], out_gains[i], out_offsets[i], out_rows[t, i, r])
        if taped:
            _tape_rows(pieces, lsbs, state, tape_rows, (t + 1 - first) * row)
"""

_TEXT: Final = '''

@_jit
def _back(
    theta, EPISODES, first, last, d_out, tape, row, deltas, width, carry, products, grad, du, inputs, ints, floats
):
    """From step ``last`` of a segment to ``first``; then what these steps' products add to the gradient."""
    q, m, driven = ints[2], ints[1], products[0, 1]
    for t in range(last - 1, first - 1, -1):
        at = (t - first) * width_BEFORE_BACK
        _backward(theta, tape, t * PITCH, t * PITCH + row, d_out, t * q, deltas, at, carry, ints, floats)
        if inputs >= 0:
            _transposed(theta, inputs, driven, deltas, at, du, t * m, m)_CUT
    for p in range(products.shape[0]):
        delta, rows, factor = products[p, 0], products[p, 1], products[p, 2] + first * PITCH
        _add_outer(
            deltas, delta, width, tape, factor, PITCH, last - first, grad, products[p, 4], rows, products[p, 3]
        )


@_jit_step
def run(
    code, theta, MODEL, state, u, out, d_out, lanes_out, target, weight, lanes_d_out, losses, checkpoints, every,
    pieces, tape, row, deltas, width, carry, products, sums, grad, du, inputs, ints, floats, block,
):
    steps, q, m = u.shape[0], ints[2], ints[1]
    segments = (steps + every - 1) // every
    PREPARE
    for segment in range(segments):
        first = segment * every
        _copy_state(state, checkpoints[segment])
        _forward(
            theta, MODEL, state, u, out, first, min(steps, first + every), code >= 0 and segment == segments - 1,
            pieces, tape, row, ints, floats,
        )_COSTS
    if code < 0:
        return
    _copy_state(state, checkpoints[segments])
    _add_loss(code, lanes_out, target, weight, lanes_d_out, losses)
    _begin(theta, carry, ints, floats)_NOTE_BEGUN
    for segment in range(segments - 1, -1, -1):
        first = segment * every
        last = min(steps, first + every)
        if segment < segments - 1:
            _copy_state(checkpoints[segment], state)
            _forward(theta, MODEL, state, u, out, first, last, True, pieces, tape, row, ints, floats)
        t = last - first
        while t > 0:
            begin = max(t - block, 0)
            _back(
                theta, EPISODES_FROM_FIRST, begin, t, d_out[first * q:], tape, row, deltas, width, carry, products,
                grad, du[first * m:], inputs, ints, floats,
            )
            t = begin
    _finish(theta, tape, 0, carry, ints, floats)
    _copy_state(checkpoints[segments], state)
    for k in range(sums.shape[0]):
        _add_rows(carry, sums[k, 0], grad, sums[k, 1], sums[k, 2])_ADD_ASIDE
'''
