"""What every jitted function keeps to, read off its source: flags from one place, and steps that allocate nothing."""

import ast
from pathlib import Path

import numba
import pytest

ROOT = Path(__file__).resolve().parent.parent
DECORATORS = {"jit_step", "jit_inline", "jit_ordered", "jit_integer", "jit_integer_inline", "jit_held"}
DECORATORS |= {"jit_exact", "jit_exact_inline", "jit_exact_rows"}
ALLOCATING = {"zeros", "ones", "empty", "full", "array", "asarray", "arange", "concatenate", "stack", "append", "list"}
SOURCES = sorted((ROOT / "neuroctl").rglob("*.py")) + sorted((ROOT / "sims").rglob("*.py"))


def decorators(node):
    return {d.id for d in node.decorator_list if isinstance(d, ast.Name)}


def jitted():
    """Yield (file:function, node, tree) of every function that one of our decorators compiles."""
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and decorators(node) & DECORATORS:
                yield pytest.param(node, tree, id=f"{path.relative_to(ROOT)}:{node.name}")


FUNCTIONS = list(jitted())


def test_there_are_some():
    assert len(FUNCTIONS) > 30


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_flags_come_from_one_file(path):
    """Nothing but maths/jit.py calls Numba's own decorators."""
    names = {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "numba"
        for alias in node.names
    }
    if path.relative_to(ROOT) != Path("neuroctl/maths/jit.py"):
        assert not names & {"njit", "jit", "vectorize", "guvectorize", "prange"}


@pytest.mark.parametrize(("node", "tree"), FUNCTIONS)
def test_at_module_level(node, tree):
    """Closures over jitted functions never hit Numba's cache."""
    assert node in tree.body
    assert len(node.decorator_list) == 1


@pytest.mark.parametrize(("node", "tree"), FUNCTIONS)
def test_rounding_stays_a_float(node, tree):
    """Compiled, math.floor and int give an int64, which a large float wraps: np.floor, and compare before a cast."""
    for call in (inner for inner in ast.walk(node) if isinstance(inner, ast.Call)):
        assert ast.unparse(call.func) not in {"math.floor", "math.ceil", "math.trunc", "round", "int"}, call.lineno


@pytest.mark.parametrize(("node", "tree"), FUNCTIONS)
def test_allocates_and_raises_nothing(node, tree):
    for inner in ast.walk(node):
        assert not isinstance(inner, (ast.Raise, ast.Assert, ast.Try, ast.With, ast.Lambda, ast.Yield)), inner.lineno
        assert not isinstance(inner, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.JoinedStr)), (
            inner.lineno
        )
        if isinstance(inner, ast.Call):
            name = inner.func.attr if isinstance(inner.func, ast.Attribute) else getattr(inner.func, "id", "")
            assert name not in ALLOCATING, f"line {inner.lineno}: {name}"


@pytest.mark.parametrize(("node", "tree"), FUNCTIONS)
def test_no_bare_float_literal(node, tree):
    """A bare 0.5 is float64 and drags float32 arithmetic with it; np.float32(0.5) does not."""
    wrapped = {
        id(part)
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr.startswith("float")
        for argument in call.args
        for part in ast.walk(argument)
    }
    if decorators(node) & {"jit_integer", "jit_integer_inline"}:
        return  # converts between physical and raw numbers in float64 on purpose
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, float):
            assert id(inner) in wrapped, f"line {inner.lineno}: {inner.value}"


def test_what_is_compiled_for_each_cell_has_code_of_its_own():
    """Numba's cache would hand one cell's code to another if they had one name."""
    from neuroctl.cells import CELLS

    compiled = [call for cell in CELLS.values() for call in (cell.step_checked, cell.rollout, cell.integer.rollout_q)]
    names = {f"{call.__module__}.{call.__qualname__}" for call in compiled}
    assert len(names) == 3 * len(CELLS)
    if not numba.config.DISABLE_JIT:
        assert len({call._cache._impl.filename_base for call in compiled}) == 3 * len(CELLS)
