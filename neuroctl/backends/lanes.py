"""Texts of the kernels that step lanes on the CPU: through recorded inputs, and through a plant.

Controllers are stepped in packs (see ``maths.packs``), whose arrays are blocks ``[B, K, W]``; a plant's functions are
scalar code in loops over all lanes of a thread, which LLVM vectorizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from neuroctl.backends.kernels import build, float_step, head
from neuroctl.backends.plant import Plant
from neuroctl.cells import cell_of, integer_of
from neuroctl.maths.fixed import quantized
from neuroctl.maths.packs import INT64, lanes_of
from neuroctl.maths.subnormals import flush, restore
from neuroctl.spec import Spec

MIN_LANES: Final = 16
"""Lanes that a thread steps through a plant come in multiples of it: packs of float32, two packs of float64."""


@lru_cache(maxsize=64)
def recorded_kernel(spec: Spec) -> Any:
    """Return the module whose ``run`` steps blocks of lanes through recorded inputs: generated, or from the cache."""
    title = f"recorded inputs for {spec.cell}, {spec.dtype}, for lanes on the CPU"
    return build(head(_float_step(spec), spec.dtype, title) + _RECORDED, f"cpu_{spec.cell}_{spec.dtype}")


def _float_step(spec: Spec) -> dict[str, Any]:
    """Return what kernels call of a cell's float form, for which subnormal numbers are 0 as for a single controller."""
    return float_step(cell_of(spec)) | {"_flush": flush, "_restore": restore}


_RECORDED: Final = """

@_jit_step
def _through(theta, state, u, outputs, b, ints, floats):
    _prepare(theta, state, ints, floats)
    for t in range(u.shape[0]):
        if u.ndim == 2:
            _step_prepared(theta, state, u[t], outputs[t, :, b], ints, floats)
        else:
            _step_prepared(theta, state, u[t, :, b], outputs[t, :, b], ints, floats)


@_jit_step
def run(theta, state, u, outputs, first, last, ints, floats):
    mode = _flush()
    for b in range(first, last):
        if theta.ndim == 1:
            _through(theta, state[b], u, outputs, b, ints, floats)
        else:
            _through(theta[b], state[b], u, outputs, b, ints, floats)
    _restore(mode)
"""


@dataclass(frozen=True)
class _Controllers:
    """How a kernel steps its controllers, in text.

    Args:
        columns: what each individual brings, ``[K, P]``, and the blocks that take it over in its lane.
        constants: arguments that are the same for all.
        work: blocks that nothing is taken over to.
        text: ``_prepare_block(b, ...)`` and ``_advance_all(u, y, ...)``, of ``arguments``.
        fault: whether lane l of block b has latched a fault.
        width: lanes of a block.

    """

    columns: Mapping[str, str]
    constants: tuple[str, ...]
    work: tuple[str, ...]
    text: str
    fault: str
    width: int

    @property
    def arguments(self) -> str:
        """Arguments of the functions in ``text``."""
        return ", ".join((*self.columns.values(), *self.work, *self.constants))


@lru_cache(maxsize=256)
def plant_kernel(spec: Spec, plant: Plant, fitness: str) -> Any:
    """Return the module whose ``run`` steps a block of lanes: generated, or from the cache."""
    title = f"{plant.name} controlled by {spec.cell}, {spec.dtype}, for lanes on the CPU"
    controllers = _Controllers({"theta": "params", "start": "state"}, ("ints", "floats", "fault"), (), _FLOATS,
                               "state[b, fault, l] != 0", lanes_of(spec.dtype))  # fmt: skip
    text = head(_float_step(spec), spec.dtype, title, plant) + _lanes(plant, fitness, controllers)
    return build(text, f"cpu_{spec.cell}_{plant.name}_{spec.dtype}")


_FLOATS: Final = """

@_jit_step
def _prepare_block(b, params, state, ints, floats, fault):
    mode = _flush()
    if params.ndim == 1:
        _prepare(params, state[b], ints, floats)
    else:
        _prepare(params[b], state[b], ints, floats)
    _restore(mode)


@_jit_step
def _advance_all(u, y, params, state, ints, floats, fault):
    mode = _flush()
    for b in range(state.shape[0]):
        if params.ndim == 1:
            _step_prepared(params, state[b], u[:, b], y[:, b], ints, floats)
        else:
            _step_prepared(params[b], state[b], u[:, b], y[:, b], ints, floats)
    _restore(mode)
"""


@lru_cache(maxsize=256)
def integer_kernel(spec: Spec, plant: Plant, fitness: str) -> Any:
    """Return the module whose ``run`` steps a block of integer controllers: generated, or from the cache."""
    title = f"{plant.name} controlled by {spec.cell} in fixed point, {spec.dtype}, for lanes on the CPU"
    columns = {"theta": "params", "numbers": "ints", "start": "state", "low": "lows", "high": "highs", "lsb": "lsbs"}
    controllers = _Controllers(columns, ("offset", "gain"), ("u_q", "y_q"), _INTEGERS, "False", INT64.width)
    form = integer_of(spec)
    functions: dict[str, Any] = {
        "_prepare_q": form.prepare_q,
        "_step_prepared_q": form.step_prepared_q,
        "_quantized": quantized,
    }
    text = head(functions, spec.dtype, title, plant) + _lanes(plant, fitness, controllers)
    return build(text, f"fixed_{spec.cell}_{plant.name}_{spec.dtype}")


_INTEGERS: Final = """

@_jit_step
def _prepare_block(b, params, ints, state, lows, highs, lsbs, u_q, y_q, offset, gain):
    _prepare_q(params[b], state[b], ints[b])


@_jit_rows
def _quantize_row(u, offset, gain, lsb, low, high, out):
    for p in range(_U(u.shape[0])):
        out[p] = _quantized(u[p], offset, gain, lsb[p], low[p], high[p])


@_jit_rows
def _dequantize_row(q, lsb, out):
    for p in range(_U(q.shape[0])):
        out[p] = _F(np.float64(q[p]) * lsb[p])


@_jit_step
def _advance_all(u, y, params, ints, state, lows, highs, lsbs, u_q, y_q, offset, gain):
    for b in range(state.shape[0]):
        for i in range(u_q.shape[1]):
            _quantize_row(u[i, b], offset[i], gain[i], lsbs[b, i], lows[b, i], highs[b, i], u_q[b, i])
        _step_prepared_q(params[b], state[b], u_q[b], y_q[b], ints[b])
        for i in range(y_q.shape[1]):
            _dequantize_row(y_q[b, i], lsbs[b, u_q.shape[1] + i], y[i, b])
"""


def lane_loop(plant: Plant, name: str, call: str, written: str | None, more: str = "", body: str = "") -> str:
    """Return the text of a loop over lanes that calls the plant's functions.

    Its arguments are rows, each an array of its own: ``x``, the plant's state, ``y``, actions, ``u`` and ``c``, what
    ``observe`` and ``critic`` give.

    Args:
        plant: whose functions are called.
        name: of the loop.
        call: expression of what is computed for a lane, with ``{x}`` and ``{y}`` for its state and actions.
        written: the rows that it is written to; None: none.
        more: further arguments.
        body: lines that follow in the loop; ``new`` is what was computed, ``p`` the lane.

    """
    counts = {
        "x": len(plant.start), "y": plant.actions, "u": plant.observations, "c": plant.critic_observations,
    }  # fmt: skip
    used = [k for k in counts if f"{{{k}}}" in call or k == written]
    rows = [f"{k}{i}" for k in used for i in range(counts[k])] + ([more] if more else [])
    lane = {k: "(" + "".join(f"{k}{i}[p], " for i in range(count)) + ")" for k, count in counts.items()}
    assign = "".join(f"        {written}{i}[p] = new[{i}]\n" for i in range(counts[written])) if written else ""
    return f"""
@_jit_rows
def {name}({", ".join(rows)}):
    for p in range(_U(x0.shape[0])):
        new = {call.format(**lane)}
{assign}{body}"""


def _lanes(plant: Plant, fitness: str, controllers: _Controllers) -> str:
    """Return the text of the lanes' kernel. Each row of the plant's state is an array argument of its own."""
    counts = {"x": len(plant.start), "y": plant.actions, "u": plant.observations}
    rows = {k: ", ".join(f"{k}{i}" for i in range(count)) for k, count in counts.items()}
    rows_of = {k: ", ".join(f"{k}[{i}]" for i in range(count)) for k, count in counts.items()}
    lane = {k: "(" + "".join(f"{k}{i}[p], " for i in range(count)) + ")" for k, count in counts.items()}
    column = "(" + "".join(f"x[{i}, b], " for i in range(counts["x"])) + ")"
    sources, packs, arguments = ", ".join(controllers.columns), controllers.columns.values(), controllers.arguments
    taken = "".join(f"    _take({source}, {pack}, who, fresh, count)\n" for source, pack in controllers.columns.items())
    substeps = plant.substeps if plant.has("derivative") else 1
    loops = lane_loop(plant, "_observe_lanes", "observe({x})", "u")
    loops += lane_loop(plant, "_step_lanes", "_next({x}, {y}, h)", "x", "h")
    return f"""{controllers.text}
{loops}

@_jit_rows
def _account_lanes({rows["x"]}, {rows["y"]}, total, recent, age, last, ended):
    for p in range(_U(x0.shape[0])):
        x = {lane["x"]}
        value = reward(x, {lane["y"]})
        total[p] += value
        recent[p] = value
        age[p] += _F(1)
        over = done(x)
        ended[p] = _F(1) if over or age[p] >= last else _F(0)


@_jit_step
def _prepare_fresh(fresh, count, {arguments}):
    # Of the blocks that new individuals came to; fresh lanes are in order.
    last = -1
    for c in range(count):
        b = fresh[c] // {controllers.width}
        if b != last:
            _prepare_block(b, {arguments})
            last = b


@_jit_step
def _count(ended):
    count = 0
    for p in range(_U(ended.shape[0])):
        count += 1 if ended[p] != 0 else 0
    return count


@_jit_step
def _take(source, packs, who, fresh, count):
    # Row by row: a lane's numbers lie far apart in memory. What has one column, or none, is the same for all.
    if packs.ndim == 3:
        for k in range(packs.shape[1]):
            for c in range(count):
                l = _U(fresh[c])
                p = who[fresh[c]] if source.shape[1] > 1 else 0
                packs[l // _U({controllers.width}), k, l % _U({controllers.width})] = source[k, p]


@_jit_step
def _fill(begin, mine, following, x, total, age, who, fresh, {sources}, {", ".join(packs)}):
    # The next individuals take the idle lanes' places.
    count = 0
    for b in range(who.shape[0]):
        if who[b] < 0 and following[0] < mine.shape[0]:
            who[b] = mine[following[0]]
            following[0] += 1
            fresh[count] = b
            count += 1
            total[b], age[b] = _F(0), _F(0)
{taken}    for k in range(x.shape[0]):
        for c in range(count):
            x[k, fresh[c]] = begin[k, who[fresh[c]] % begin.shape[1]]
    return count


@_jit_step
def _faulty(lane, {arguments}):
    b, l = lane // {controllers.width}, lane % {controllers.width}
    return {controllers.fault}


@_jit_step
def _finish(b, faulty, x, total, recent, age, clock, who, fitness_out, steps_out, final_out, fault_out):
    window = recent.shape[0]
    kept = min(window, int(age[b]))
    lately = _F(0)
    for k in range(kept):  # from the newest on
        lately += recent[(clock - k) % window, b]
    p = who[b]
    fitness_out[p] = {fitness}({column}, age[b], total[b], lately)
    steps_out[p] = int(age[b])
    for k in range(x.shape[0]):
        final_out[k, p] = x[k, b]
    fault_out[p] = faulty


@_jit_step
def run({sources}, {arguments}, begin, mine, following, last, dt, u_packs, y_packs, x, u, y,
        total, recent, age, ended, who, fresh, fitness_out, steps_out, final_out, fault_out):
    lanes = who.shape[0]
    count = mine.shape[0]
    _fill(begin, mine, following, x, total, age, who, fresh, {sources}, {", ".join(packs)})
    live = 0
    for b in range(lanes):
        if who[b] >= 0:
            live += 1
        else:
            age[b] = _F(last)  # an idle lane counts as ended, whatever its plant does
    for b in range(state.shape[0]):
        _prepare_block(b, {arguments})
    h = dt / _F({substeps})
    # Half empty and nothing to fill up with: give back, to go on in a narrower block.
    while live > 0 and (following[0] < count or 2 * live > lanes or lanes == {MIN_LANES}):
        _observe_lanes({rows_of["x"]}, {rows_of["u"]})
        _advance_all(u_packs, y_packs, {arguments})
        for _ in range({substeps}):
            _step_lanes({rows_of["x"]}, {rows_of["y"]}, h)
        clock = following[1] % recent.shape[0]
        _account_lanes({rows_of["x"]}, {rows_of["y"]}, total, recent[clock], age, _F(last), ended)
        if _count(ended) > lanes - live:
            for b in range(lanes):
                if ended[b] != 0 and who[b] >= 0:
                    _finish(b, _faulty(b, {arguments}), x, total, recent, age, clock, who,
                            fitness_out, steps_out, final_out, fault_out)
                    who[b] = -1
                    age[b] = _F(last)
                    live -= 1
            loaded = _fill(begin, mine, following, x, total, age, who, fresh, {sources}, {", ".join(packs)})
            live += loaded
            if loaded > 0:
                _prepare_fresh(fresh, loaded, {arguments})
        following[1] += 1
"""
