"""Plants: what a controller controls, as scalar functions in a file of their own; read, checked and typed here.

A plant is a Python module. It holds the constants

- ``START``: the state x at the start, a tuple of numbers;
- ``STARTS`` (optional): (low, high) for each entry of x, which seeded episodes draw their start from; a ``range`` for
  an entry that is a whole number, such as the seeds of ``neuroctl.maths.noise``;
- ``ACTIONS``: how many actions it takes, the controller's outputs in the plant's own units;
- ``DT_S`` (optional): the only time step that it is made for, in seconds;
- ``SUBSTEPS`` (optional, 1): Runge-Kutta steps within a control step, for ``derivative``;
- ``WINDOW`` (optional, 1): over how many last steps ``recent`` sums the reward;

and the functions, on tuples of numbers,

- ``derivative(x, a)``: dx/dt, a tuple like x, stepped by the classic Runge-Kutta method; or ``step(x, a, dt_s)``: x
  after dt_s seconds;
- ``observe(x)``: the controller's inputs, a tuple;
- ``fitness(x, steps, total, recent)``: from the last state, the number of steps, and the reward summed over all steps
  and over the last ``WINDOW``; several such functions may stand in a plant under other names;
- ``done(x)`` (optional): whether the episode ends here;
- ``reward(x, a)`` (optional, 0): of one step, from the state that it led to;
- ``cost(x, a)`` (optional, minus ``reward``): of one step, from the state that it led to: smooth, for training by
  gradient to minimize;
- ``critic(x)`` (optional, ``observe``): what the critic of training by reward sees, a tuple; the state as a whole, say,
  of which sensors give a part.

A plant may vary another in the same folder: ``from other import *`` stands for the other's text. What follows replaces
what has the same name there, for the functions of the other plant too.

The functions may call each other and other functions of the module, ``math``, and ``neuroctl.maths`` (whose sine,
cosine, arc tangent, exponentials and ``log1p`` vectorize; those of ``math`` do not). In the functions every number that
is written out, but for indices, exponents and the arguments of ``range``, is taken in the controller's dtype: ``0.5 *
x`` stays float32.
"""

from __future__ import annotations

import ast
import math
import numbers
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.checks import integer, real, shown
from neuroctl.errors import PlantError, told

_SOME_DT_S: Final = 0.01  # for a first step of a plant that takes any


@dataclass(frozen=True)
class Plant:
    """A checked plant. ``module`` holds its functions in plain Python, ``source`` their text.

    ``files`` are the files that the text is made of, each with how many lines it has.
    ``starts`` are (lowest, highest) of each entry of the start, and ``whole`` says which entries are whole numbers.
    ``observations`` and ``critic_observations`` are the lengths of what ``observe`` and ``critic`` return.
    """

    name: str
    source: str
    files: tuple[tuple[str, int], ...]
    module: ModuleType
    start: tuple[float, ...]
    starts: tuple[tuple[float, float], ...]
    whole: tuple[bool, ...]
    observations: int
    critic_observations: int
    actions: int
    dt_s: float | None
    substeps: int
    window: int

    @property
    def same_start(self) -> bool:
        """Whether every seed gives the same start."""
        return all(low == high for low, high in self.starts)

    def start_of(self, seed: int) -> tuple[float, ...]:
        """Return the state at the start of the episode with this seed."""
        if self.same_start:
            return tuple(low for low, _ in self.starts)
        return tuple(self.draw_starts(np.random.default_rng(seed), 1)[:, 0].tolist())

    def draw_starts(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Return the states at the start of so many episodes, float64[S, count], drawn one after the other."""
        low, high = np.array(self.starts).T
        whole = np.array(self.whole)
        drawn = rng.uniform(low, high + whole, (count, len(low)))
        return np.ascontiguousarray(np.where(whole, np.floor(drawn), drawn).T)

    def place_of(self, line: int) -> str:
        """Return the file and its line, ``"file.py:3"``, of a line of ``source`` counted from 1."""
        for file, count in self.files[:-1]:
            if line <= count:
                return f"{file}:{line}"
            line -= count
        return f"{self.files[-1][0]}:{line}"

    def text_of(self, file: str) -> str:
        """Return the text of one of ``files``; of a plant of one file its text, whatever the file is called."""
        lines, first = self.source.splitlines(keepends=True), 0
        for name, count in self.files[:-1]:
            if name == file:
                return "".join(lines[first : first + count])
            first += count
        return "".join(lines[first:])

    def has(self, function: str) -> bool:
        """Say whether the plant has a function of that name."""
        return callable(getattr(self.module, function, None))


def load(plant: ModuleType | str | os.PathLike[str]) -> Plant:
    """Read a plant, given as a module or as the path of its file, which is run.

    Raises:
        PlantError: the file cannot be read, or a constant or function is missing or bad.

    """
    if not isinstance(plant, (ModuleType, str, os.PathLike)):
        raise PlantError(f"plant: {shown(plant)}; allowed: a module, or the path of a Python file")
    path = plant.__dict__.get("__file__") if isinstance(plant, ModuleType) else plant
    if path is None:
        raise PlantError(f"plant: {plant} has no file; allowed: a module read from a file, or a path")
    try:
        files = _files(Path(path).resolve(), _version(path))
        versions = tuple(_version(file) for file in files)
    except OSError:
        raise PlantError(f"plant: {os.fspath(path)}; allowed: a module, or the path of a Python file") from None
    return _loaded(files, versions, plant if isinstance(plant, ModuleType) and len(files) == 1 else None)


def _version(path: str | os.PathLike[str]) -> tuple[int, int]:
    changed = os.stat(path)
    return changed.st_mtime_ns, changed.st_size


@lru_cache(maxsize=64)
def _files(path: Path, version: tuple[int, int]) -> tuple[Path, ...]:
    """Return the files that a plant is made of, itself last."""
    files, text = [path], path.read_text(encoding="utf-8")
    while (base := _base(files[0], text)[0]) is not None:
        if base in files:
            raise PlantError(f"{path.stem}: varies {base.name}, which varies it; allowed: another plant")
        files.insert(0, base)
        text = base.read_text(encoding="utf-8")
    return tuple(files)


def _base(path: Path, text: str) -> tuple[Path | None, str]:
    """Return the plant in the same folder that a plant varies, if it does, and its text without imports of that one."""
    try:
        imports = [node for node in ast.parse(text).body if isinstance(node, ast.ImportFrom)]
    except SyntaxError:  # named where the file is run
        return None, text
    stars = [node for node in imports if node.names[0].name == "*" and _sibling(path, node).is_file()]
    if not stars:
        return None, text
    base, lines = _sibling(path, stars[0]), text.splitlines()
    for node in imports:
        if _sibling(path, node) == base:
            last = node.end_lineno or node.lineno
            lines[node.lineno - 1 : last] = [""] * (last - node.lineno + 1)
    return base, "\n".join(lines) + "\n"


def _sibling(path: Path, node: ast.ImportFrom) -> Path:
    """Return where a module that is imported lies, if in the folder of a plant."""
    return path.with_name(f"{(node.module or '').rpartition('.')[2]}.py")


@lru_cache(maxsize=64)
def _loaded(files: tuple[Path, ...], versions: tuple[tuple[int, int], ...], module: ModuleType | None) -> Plant:
    """Read and check a plant once for each version of its files."""
    path = files[-1]
    texts = [_base(file, file.read_text(encoding="utf-8"))[1] for file in files]
    texts = [text if text.endswith("\n") else text + "\n" for text in texts]
    module = _run(files, texts) if module is None else module
    name = path.stem
    _check_functions(module, name)
    start = _numbers(module, name, "START")
    starts = _ranges(module, name, start)
    _check_step(module, name, start)
    _check_cost(module, name, start)
    observations = _length(module, name, "observe", start)
    return Plant(
        name=name,
        source="".join(texts),
        files=tuple((str(file), text.count("\n")) for file, text in zip(files, texts, strict=True)),
        module=module,
        start=start,
        starts=tuple((float(low), float(high)) for low, high, _ in starts),
        whole=tuple(whole for _, _, whole in starts),
        observations=observations,
        critic_observations=_length(module, name, "critic", start) if hasattr(module, "critic") else observations,
        actions=_count(module, name, "ACTIONS", None),
        dt_s=_time_step(module, name),
        substeps=_count(module, name, "SUBSTEPS", 1),
        window=_count(module, name, "WINDOW", 1),
    )


def _run(files: tuple[Path, ...], texts: list[str]) -> ModuleType:
    """Return a module in which the files' texts were run, one after the other."""
    module = ModuleType(files[-1].stem)
    module.__file__ = str(files[-1])
    for path, text in zip(files, texts, strict=True):
        try:
            exec(compile(text, path, "exec"), module.__dict__)
        except Exception as error:
            raise PlantError(f"plant: {os.fspath(path)}: {type(error).__name__}: {error}") from error
    return module


def _check_functions(module: ModuleType, name: str) -> None:
    kinds = [kind for kind in ("derivative", "step") if callable(getattr(module, kind, None))]
    if len(kinds) != 1:
        raise PlantError(f"{name}: {' and '.join(kinds) or 'no derivative, no step'}; allowed: exactly one of them")
    for function in ("observe", "fitness"):
        if not callable(getattr(module, function, None)):
            raise PlantError(f"{name}.{function}: missing; allowed: a function")
    for function in ("cost", "critic"):
        if not callable(getattr(module, function, len)):
            raise PlantError(f"{name}.{function}: {shown(getattr(module, function))}; allowed: a function, or none")


def _numbers(module: ModuleType, name: str, field: str) -> tuple[float, ...]:
    value = getattr(module, field, None)
    if not isinstance(value, tuple) or not value or not all(isinstance(entry, numbers.Real) for entry in value):
        raise PlantError(f"{name}.{field}: {value!r}; allowed: a tuple of numbers")
    return tuple(float(entry) for entry in value)


def _ranges(module: ModuleType, name: str, start: tuple[float, ...]) -> list[tuple[float, float, bool]]:
    """Return the lowest and highest value of each entry of the start, and whether it is a whole number."""
    value = getattr(module, "STARTS", tuple((entry, entry) for entry in start))
    try:
        ranges = [_range(entry) for entry in value]
    except (TypeError, ValueError):
        ranges = []
    if len(ranges) != len(start) or not all(-math.inf < low <= high < math.inf for low, high, _ in ranges):
        raise PlantError(
            f"{name}.STARTS: {value!r}; allowed: {len(start)} pairs (low, high) of finite numbers, or ranges"
        )
    return ranges


def _range(entry: Any) -> tuple[float, float, bool]:
    if isinstance(entry, range):
        if entry.step != 1 or not entry:
            raise ValueError
        return entry[0], entry[-1], True
    low, high = entry
    return float(low), float(high), False


def _count(module: ModuleType, name: str, field: str, default: int | None) -> int:
    return integer(f"{name}.{field}", getattr(module, field, default), 1, error=PlantError)


def _time_step(module: ModuleType, name: str) -> float | None:
    value = getattr(module, "DT_S", None)
    if value is not None and not 0 < real(value) < math.inf:
        raise PlantError(f"{name}.DT_S: {value!r}; allowed: seconds, greater than 0")
    return None if value is None else real(value)


def _length(module: ModuleType, name: str, function: str, start: tuple[float, ...]) -> int:
    """Return how many numbers ``observe`` or ``critic`` gives."""
    try:
        values = getattr(module, function)(start)
    except Exception as error:
        raise PlantError(f"{name}.{function}: at START: {told(error)}") from error
    if not isinstance(values, tuple) or not values:
        raise PlantError(f"{name}.{function}: gives {type(values).__name__} at START; allowed: a tuple of numbers")
    return len(values)


def _check_step(module: ModuleType, name: str, start: tuple[float, ...]) -> None:
    """Check how many numbers a step from START gives: compiled code reads as many as x has, and no others."""
    a = (0.0,) * _count(module, name, "ACTIONS", None)
    function = "derivative" if callable(getattr(module, "derivative", None)) else "step"
    dt_s = () if function == "derivative" else (_time_step(module, name) or _SOME_DT_S,)
    try:
        result = getattr(module, function)(start, a, *dt_s)
    except (ArithmeticError, ValueError):  # compiled code goes on with Inf or NaN where Python raises
        return
    except Exception as error:
        raise PlantError(f"{name}.{function}: at START: {told(error)}") from error
    if not isinstance(result, tuple) or len(result) != len(start):
        got = f"{len(result)} numbers" if isinstance(result, tuple) else type(result).__name__
        raise PlantError(f"{name}.{function}: gives {got} at START; allowed: a tuple of {len(start)}, as x has")


def _check_cost(module: ModuleType, name: str, start: tuple[float, ...]) -> None:
    """Check that ``cost``, if there is one, gives a number at START."""
    if not hasattr(module, "cost"):
        return
    try:
        value = module.cost(start, (0.0,) * _count(module, name, "ACTIONS", None))
    except (ArithmeticError, ValueError):  # as in a step
        return
    except Exception as error:
        raise PlantError(f"{name}.cost: at START: {told(error)}") from error
    if not isinstance(value, numbers.Real):
        raise PlantError(f"{name}.cost: gives {type(value).__name__} at START; allowed: a number")


def next_state(plant: Plant, x: tuple[float, ...], a: tuple[float, ...], dt_s: float) -> tuple[float, ...]:
    """Return the state after a control step, in plain Python; kernels compile the same method."""
    if plant.has("step"):
        return tuple(plant.module.step(x, a, dt_s))
    h, slope = dt_s / plant.substeps, plant.module.derivative
    for _ in range(plant.substeps):
        k1 = slope(x, a)
        k2 = slope(tuple(v + 0.5 * h * k for v, k in zip(x, k1, strict=True)), a)
        k3 = slope(tuple(v + 0.5 * h * k for v, k in zip(x, k2, strict=True)), a)
        k4 = slope(tuple(v + h * k for v, k in zip(x, k3, strict=True)), a)
        rises = (p + 2 * (q + r) + s for p, q, r, s in zip(k1, k2, k3, k4, strict=True))
        x = tuple(v + h / 6 * rise for v, rise in zip(x, rises, strict=True))
    return x


# --- Typing: the plant's text with the controller's dtype ------------------------------------------------------------


def typed_source(plant: Plant) -> str:
    """Return the plant's text for compiling: its functions decorated, its numbers wrapped as ``_F(...)``.

    The text needs ``_F``, the dtype, ``_typed``, which gives a number or a tuple of them that dtype, and ``_jit``.
    """
    tree = ast.parse(plant.source)
    body: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            continue  # allowed at the top of a file only
        if isinstance(node, ast.FunctionDef):
            node = _Typed().visit(node)
            node.decorator_list = [ast.Name("_jit", ast.Load())]
            node.returns = None
            for argument in node.args.args:
                argument.annotation = None
        body.append(node)
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
            body += [ast.parse(f"{target} = _typed({target})").body[0] for target in names]
    tree.body = body
    return ast.unparse(ast.fix_missing_locations(tree))


class _Typed(ast.NodeTransformer):
    """Wraps each number of a function's body but indices, exponents and the arguments of ``range``."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:  # noqa: N802 - ast's names
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            return node
        return ast.Call(ast.Name("_F", ast.Load()), [node], [])

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:  # noqa: N802
        node.value = self.visit(node.value)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:  # noqa: N802
        node.left = self.visit(node.left)
        if not isinstance(node.op, ast.Pow):
            node.right = self.visit(node.right)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:  # noqa: N802
        return node if isinstance(node.func, ast.Name) and node.func.id == "range" else self.generic_visit(node)
