"""Adjoints of the library's plants, of torch's own gradients, of random programs, and compiled."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuroctl.backends.kernels import build, head
from neuroctl.backends.plant import load
from neuroctl.tracing import adjoint, forward, record
from tests.tracing.plain import as_tuple, assert_right, both, central, plant_of

FOLDER = Path(__file__).parents[2] / "sims" / "plants"
PLANTS = sorted(path for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "tasks"))
FUNCTIONS = ("derivative", "step", "observe", "critic", "cost", "reward")


def sizes_of(plant, name):
    """Return the arguments of one of a plant's functions."""
    sizes = {"x": len(plant.start)}
    if name not in ("observe", "critic"):
        sizes["a"] = plant.actions
    return sizes | ({"dt_s": None} if name == "step" else {})


def points_of(plant, name, count, seed=0):
    """Return arguments around the states that episodes start in."""
    rng = np.random.default_rng(seed)
    sizes = sizes_of(plant, name)
    for k in range(count):
        moved = rng.normal(size=len(plant.start)) * 0.1
        x = np.array(plant.start_of(k)) + np.where(plant.whole, 0.0, moved)
        point = {"x": x.tolist(), "a": rng.uniform(-0.9, 0.9, plant.actions).tolist(), "dt_s": plant.dt_s or 0.1}
        yield [point[argument] for argument in sizes]


@pytest.mark.parametrize("path", PLANTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_plants(path, name):
    """Where two differences agree, which they do but near a kink, the adjoint agrees with them."""
    plant = load(path)
    if not plant.has(name):
        pytest.skip("the plant has none")
    ahead, back = both(plant, name, sizes_of(plant, name))
    own, rng, smooth = getattr(plant.module, name), np.random.default_rng(1), 0
    count = 25
    for point in points_of(plant, name, count):
        exact = as_tuple(own(*(tuple(each) if isinstance(each, list) else each for each in point)))
        bar = rng.standard_normal(len(exact)).tolist()
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(ahead(*point), exact, rtol=1e-12, atol=1e-12)
            changes = np.array(back(*point, bar), float)
        wide, narrow = (central(own, point, bar, e) for e in (2e-4, 1e-4))
        seeds = np.flatnonzero(plant.whole)  # what they lead to is noise, whose derivative counts as 0
        changes[seeds] = wide[seeds] = narrow[seeds] = 0.0
        scale = 1.0 + float(np.abs(narrow).max())
        if np.abs(wide - narrow).max() < 1e-7 * scale:
            smooth += 1
            np.testing.assert_allclose(changes, narrow, rtol=0, atol=1e-6 * scale)
    assert smooth >= 0.6 * count


PENDULUM = """
import math


def clip(v, limit):
    return limit if v > limit else (-limit if v < -limit else v)


def value(x, a):
    swing = 0.3 * math.sin(x[0]) * x[1] + clip(a[0], 0.8) / (1.0 + math.exp(-x[2]))
    inside = x[0] * x[0] + x[1] * x[1] < 1.5
    bent = math.sqrt(x[2] * x[2] + 0.1) if inside else abs(x[2]) ** 1.5
    return swing * bent, math.atan2(swing, 1.0 + bent * bent), math.log1p(bent) * math.tanh(a[1] * x[0])
"""


def torch_pendulum(torch, x, a):
    """The same equations, written for torch."""
    swing = 0.3 * torch.sin(x[0]) * x[1] + torch.clamp(a[0], -0.8, 0.8) * torch.sigmoid(x[2])
    inside = x[0] ** 2 + x[1] ** 2 < 1.5
    bent = torch.where(inside, torch.sqrt(x[2] ** 2 + 0.1), torch.abs(x[2]) ** 1.5)
    return torch.stack(
        [swing * bent, torch.atan2(swing, 1 + bent**2), torch.log1p(bent) * torch.tanh(a[1] * x[0])]
    )  # fmt: skip


def test_torch_agrees(tmp_path):
    torch = pytest.importorskip("torch")
    plant = plant_of(tmp_path, PENDULUM)
    back, rng = both(plant, "value", {"x": 3, "a": 2})[1], np.random.default_rng(2)
    for _ in range(50):
        x, a, bar = (rng.normal(size=k) for k in (3, 2, 3))
        tx, ta = (torch.tensor(v, requires_grad=True) for v in (x, a))
        (torch_pendulum(torch, tx, ta) * torch.tensor(bar)).sum().backward()
        expected = np.concatenate([tx.grad.numpy(), ta.grad.numpy()])
        np.testing.assert_allclose(back(x.tolist(), a.tolist(), bar.tolist()), expected, rtol=1e-9, atol=1e-12)


# --- Random programs -------------------------------------------------------------------------------------------------

LEAVES = st.sampled_from(["x[0]", "x[1]", "x[2]", "a[0]", "a[1]", "0.7", "2.0", "p", "q"])
UNARY = ["math.sin({})", "math.cos({})", "math.tanh({})", "-({})", "math.atan({})", "({}) ** 2", "math.exp(-({}) ** 2)"]
BINARY = ["({} + {})", "({} - {})", "({} * {})", "({} / (2.0 + ({}) ** 2))", "min({}, {})", "max({}, {})"]
CHOICES = [
    "({} if {} > {} else {})", "({} if {} < 0.3 or {} > 0.1 else {})", "({} if not ({} > 0.2 and {} < 0.4) else {})",
]  # fmt: skip


def joined(parts):
    return st.one_of(
        st.tuples(st.sampled_from(UNARY), parts).map(lambda t: t[0].format(t[1])),
        st.tuples(st.sampled_from(BINARY), parts, parts).map(lambda t: t[0].format(*t[1:])),
        st.tuples(st.sampled_from(CHOICES), parts, parts, parts, parts).map(lambda t: t[0].format(*t[1:])),
    )


EXPRESSIONS = st.recursive(LEAVES, joined, max_leaves=12)
PROGRAM = """
import math


def value(x, a):
    p = {0}
    q = {1}
    if {2} > {3}:
        p = {4}
        if {5} < 0.2:
            return p * q, q
    else:
        for i in range(2):
            q = 0.5 * q + {6} * i
    return p, q * {7}
"""
FIRST = st.recursive(LEAVES.filter(lambda leaf: leaf not in "pq"), joined, max_leaves=8)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.tuples(FIRST, FIRST, *[EXPRESSIONS] * 6), st.integers(0, 2**20))
def test_random_programs(tmp_path_factory, parts, seed):
    """As many statements and expressions as chance gives: forward to the last bits, and back as differences have it."""
    folder = tmp_path_factory.mktemp("program")
    plant = plant_of(folder, PROGRAM.format(*parts))
    rng = np.random.default_rng(seed)
    point = [rng.uniform(-1.5, 1.5, 3).tolist(), rng.uniform(-1.5, 1.5, 2).tolist()]
    own, bar = plant.module.value, [0.7, -1.3]
    ahead, back = both(plant, "value", {"x": 3, "a": 2})
    np.testing.assert_allclose(ahead(*point), own(*map(tuple, point)), rtol=1e-10, atol=1e-12)
    wide, narrow = (central(own, point, bar, e) for e in (2e-4, 1e-4))
    scale = 1.0 + float(np.abs(narrow).max())
    if np.abs(wide - narrow).max() < 1e-8 * scale:
        np.testing.assert_allclose(back(*point, bar), narrow, rtol=0, atol=1e-6 * scale)


# --- Compiled --------------------------------------------------------------------------------------------------------


def module_of(plant, text, dtype):
    return build(head(dict(text.functions), dtype, "adjoint", plant) + "\nimport math\n" + text.lines, "adjoint")


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 2e-4)])
@pytest.mark.parametrize("name", ["double_pole", "walker", "circle_catcher"])
def test_compiled_adjoints_equal_plain_ones(name, dtype, tolerance):
    plant = load(FOLDER / f"{name}.py")
    function = "step" if plant.has("step") else "derivative"
    sizes = sizes_of(plant, function)
    text = adjoint(record(plant, function, sizes), "back")
    compiled, plain = module_of(plant, text, dtype).back, both(plant, function, sizes)[1]
    typed = np.dtype(dtype).type
    for point in points_of(plant, function, 5):
        bar = np.random.default_rng(0).standard_normal(len(plant.start))
        given = [tuple(map(typed, each)) if isinstance(each, list) else typed(each) for each in point]
        found = compiled(*given, tuple(map(typed, bar)))
        assert {np.asarray(value).dtype for value in found} <= {np.dtype(dtype), np.dtype("float64")}
        expected = np.array(plain(*point, bar.tolist()))
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * (1 + np.abs(expected).max()))


JITTED = """
from numba import njit

@njit
def cubed(v):
    return v * v * v
"""


def test_jitted_helpers_of_other_modules_are_recorded(tmp_path, monkeypatch):
    (tmp_path / "helpers_of_mine.py").write_text(JITTED)
    monkeypatch.syspath_prepend(tmp_path)
    plant = plant_of(
        tmp_path, "from helpers_of_mine import cubed\n\n\ndef value(x, a):\n    return cubed(x[0] * a[1])\n"
    )
    assert_right(plant, "value", {"x": 3, "a": 2}, [[[0.3, 0.0, 0.0], [0.0, 1.4]]])


def test_what_was_recorded_can_be_written_as_it_is(tmp_path):
    plant = plant_of(tmp_path, "import math\n\n\ndef value(x, a):\n    return math.sin(x[0]) * a[1]\n")
    text = forward(record(plant, "value", {"x": 3, "a": 2}), "ahead")
    assert text.lines == "@_jit\ndef ahead(x, a):\n    t5 = _own_sin(x[0])\n    t6 = a[1] * t5\n    return (t6, )"
    assert text.operations == 2 and list(text.functions) == ["_own_sin"] and math.pi
