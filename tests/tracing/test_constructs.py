"""Every construct that plants are written with: recorded, and taken back through, against central differences."""

import numpy as np
import pytest

from neuroctl.errors import PlantError
from neuroctl.tracing import adjoint, record
from tests.tracing.plain import as_tuple, assert_right, both, plant_of

SIZES = {"x": 3, "a": 2}
POINTS = [
    [[0.3, -0.7, 1.1], [0.2, 0.9]],
    [[-1.3, 0.4, 0.6], [-0.5, 0.35]],
    [[2.2, 1.7, -0.9], [0.8, -1.6]],
    [[-0.45, -1.2, -2.3], [-1.1, -0.15]],
]

EXPRESSIONS = {
    "arithmetic": "x[0] * x[1] - x[2] / (2.0 + x[0] * x[0]) + a[0]",
    "negative": "-x[0] - (-x[1]) + +x[2]",
    "constants": "3 * x[0] / 4 + 2 ** 3 * x[1] + 7 // 2 * x[2] + 7 % 4 * x[0]",
    "divided by a constant": "x[0] / 3.0 + 1.0 / (x[1] + 5.0)",
    "conditional": "x[0] * x[1] if x[0] > 0 else x[2] * 3.0",
    "nested conditionals": "1.0 if x[0] > 1 else (-1.0 if x[0] < -1 else x[0])",
    "comparisons": "(x[0] if x[0] >= x[1] else x[1]) + (x[1] if x[1] <= x[2] else x[2])",
    "unequal": "1.0 if x[0] != x[1] else x[2]",
    "equal": "x[0] if a[0] == 0.2 else x[1]",
    "chained": "x[0] ** 2 if -1.0 < x[0] < 1.0 else x[1]",
    "and": "x[0] * 2.0 if x[0] > 0 and x[1] < 0 else x[2]",
    "or": "x[0] * 2.0 if x[0] > 0 or x[1] < 0 else x[2]",
    "not": "x[0] if not x[1] > 0 else x[1] * x[2]",
    "and, or, not of several": "x[0] * x[1] if (x[0] > 0 and not x[1] > 0 and x[2] > 0) or a[0] > 0.5 else x[2] ** 2",
    "and of numbers": "(x[0] and x[1]) * x[2]",
    "or of numbers": "(x[0] or x[1]) * x[2]",
    "truth of a number": "x[0] * 3.0 if x[1] else x[2]",
    "truth as a number": "x[0] * (x[1] > 0) + (x[0] > 0) * x[2]",
    "abs": "abs(x[0]) * abs(x[1] - x[2])",
    "min": "min(x[0], x[1], 0.5) * x[2]",
    "max": "max(x[0], x[1]) * x[2] + max(x)",
    "clip": "min(max(x[0], -1.0), 1.0) * x[1]",
    "sum": "sum((x[0], x[1] * x[2], a[0]))",
    "float and len": "float(len(x)) * x[0] + float(x[1])",
    "int": "int(x[0]) * x[1] + x[2]",
    "floor": "math.floor(x[0]) * x[1] + math.ceil(x[2]) * x[0]",
    "whole quotient": "x[0] // 0.5 * x[1]",
    "remainder": "x[0] % 0.7 * x[1] + x[1] % (2.1 + x[2] * x[2])",
    "round": "round(x[0]) * x[1]",
    "tuple": "(x[0], x[1])[1] * (x + a)[4] + x[-1] + x[0:2][1]",
    "whole powers": "x[0] ** 2 + x[1] ** 3 + x[2] ** 5 + x[0] ** 0 + x[1] ** 1 + (x[2] + 3.0) ** -2",
    "powers": "(x[0] + 4.0) ** 1.5 + (x[1] + 4.0) ** 0.5 + (x[2] + 4.0) ** -0.7",
    "power of two numbers": "(x[0] + 4.0) ** (x[1] * 0.5)",
    "sines": "math.sin(x[0]) * math.cos(x[1]) + math.tan(x[2] * 0.3)",
    "arcs": "math.asin(0.3 * x[0]) + math.acos(0.3 * x[1]) + math.atan(x[2])",
    "atan2": "math.atan2(x[0], x[1]) * x[2]",
    "hypot": "math.hypot(x[0], x[1]) * x[2]",
    "hyperbolic": "math.sinh(x[0]) + math.cosh(x[1]) * math.tanh(x[2])",
    "inverse hyperbolic": "math.asinh(x[0]) + math.acosh(4.0 + x[1]) + math.atanh(0.3 * x[2])",
    "exponentials": "math.exp(x[0]) + math.expm1(x[1]) * math.exp(-x[2] * x[2])",
    "logarithms": "math.log(4.0 + x[0]) + math.log1p(x[1] * x[1]) + math.log2(3.0 + x[2]) + math.log10(3.0 + x[2])",
    "log to a base": "math.log(4.0 + x[0], 3.0)",
    "roots": "math.sqrt(x[0] * x[0] + 1.0) * math.pow(x[1] + 4.0, 0.3)",
    "signs": "math.copysign(x[0], x[1]) + math.fabs(x[2])",
    "degrees": "math.radians(x[0]) + math.degrees(x[1])",
    "fmod": "math.fmod(x[0], 0.7) * x[1]",
    "finite": "x[0] if math.isfinite(x[0]) and not math.isnan(x[1]) and not math.isinf(x[2]) else 0.0",
    "constants of math": "x[0] * math.pi + math.e * x[1]",
    "numpy": "np.sin(x[0]) * np.sqrt(x[1] * x[1] + 1.0) + np.minimum(x[0], x[2]) + np.sign(x[1]) * x[0] + np.abs(x[2])",
    "own sines": "sin(x[0]) * cos(x[1]) + atan(x[2])",
    "activations": "logistic(x[0]) * tanh(x[1]) + relu(x[2]) * hard_tanh(x[0]) + decay(x[1] * x[1])",
    "a constant": "GAIN * x[0] + PAIR[1] * x[1] + TABLE[1][0] * x[2]",
    "a varying index": "PAIR[1 if x[0] > 0 else 0] * x[1] + STEPS[int(x[0] * x[0])] * x[2]",
    "an index from the end": "STEPS[-1 - int(x[0] * x[0])] * x[1] + x[2]",
    "an array": "GRID[1, 2] * x[0] + GRID[0][1] * x[1] + LINE[2] * x[2]",
    "a varying choice of entries": "x[int(abs(x[0])) % 3] * x[1]",
    "helpers": "scaled(x[0], by=3.0) + scaled(x[1]) * both(x)[1] + twice(twice(x[2]))",
    "unpacked arguments": "product(*x) + product(x[0], *a)",
}
HEAD = """
import math
import numpy as np
from neuroctl.maths.activations import decay, hard_tanh, logistic, relu, tanh
from neuroctl.maths.trigonometry import atan, cos, sin

GAIN = 2.5
PAIR = (1.5, -0.5)
TABLE = ((1.0, 2.0), (3.0, 4.0))
STEPS = (0.5, 1.5, -2.5, 4.0, 0.1, 0.9)
GRID = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
LINE = np.array([1.0, 2.0, 3.0])


def scaled(v, by=2.0):
    return by * v * v


def both(v):
    return v[0] * v[1], v[1] * v[2]


def twice(v):
    return 2.0 * v


def product(p, q, r):
    return p * q * r


"""


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_expressions(expression, tmp_path):
    plant = plant_of(tmp_path, f"{HEAD}def value(x, a):\n    return {expression}\n")
    assert_right(plant, "value", SIZES, POINTS)


PROGRAMS = {
    "assignments": """
    p, (q, r) = x[0], (x[1], x[2])
    p += q * r
    p -= 1.0
    p *= q
    s: float = p / 3.0
    p = q = s + r
    return p * q, s
""",
    "if": """
    y = x[0]
    if x[0] > 0:
        y = x[0] * x[1]
        z = y + 1.0
    elif x[1] > 0:
        y = x[1] * x[2]
        z = 2.0 * y
    else:
        z = a[0]
    return y * z
""",
    "if without else": """
    y = x[0]
    if x[1] > x[2]:
        y = y * x[1]
        if a[0] > 0:
            y += a[1]
    return y
""",
    "returns in branches": """
    if x[0] > 1:
        return x[1]
    if x[0] < -1:
        if x[1] > 0:
            return x[1] * x[2]
        y = x[2] ** 2
    else:
        y = x[0] * x[0]
    return y * 3.0
""",
    "a tuple of each branch": """
    pair = (x[0], x[1]) if a[0] > 0 else (x[2], x[0] * x[1])
    if a[1] > 0:
        pair = (pair[1], pair[0])
    return pair
""",
    "loops": """
    total = 0.0
    for i in range(len(x)):
        total = total * 0.5 + x[i] * i
    for i in range(2, 0, -1):
        total += a[i - 1] * x[i]
    for v in x:
        for k, w in enumerate(a):
            if v > w:
                total += v * w * k
    for p, q in zip(x, (1.0, 2.0, 3.0)):
        total += p * q
    for v in reversed(x):
        total = total * 0.9 + v
    return total
""",
    "a return within a loop": """
    total = 0.0
    for v in x:
        if v > 1.5:
            return total * v
        total += v * v
    return total
""",
    "a known condition": """
    if GAIN > 2.0:
        y = x[0] * 2.0
    else:
        y = undefined
    return y if len(x) == 3 else undefined
""",
    "names of both branches": """
    if x[0] > 0:
        kept = 1
        mixed = x[1] > 0
    else:
        kept = 1
        mixed = False
    return x[kept] * x[2] if mixed else x[0]
""",
    "nothing but a text": '''
    """A docstring."""
    pass
    ...
    return x[0]
''',
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_programs(program, tmp_path):
    plant = plant_of(tmp_path, f"{HEAD}def value(x, a):{program}")
    assert_right(plant, "value", SIZES, POINTS)


KINKS = {
    "abs(x[0])": 0.0,
    "max(x[0], x[1])": 1.0,  # the first of equals is taken
    "relu(x[0])": 0.0,
    "hard_tanh(x[0] + 1.0)": 0.0,
    "math.sqrt(x[0])": 0.0,
    "math.hypot(x[0], x[1])": 0.0,
    "math.log(x[0])": 0.0,
    "math.atan2(x[0], x[1])": 0.0,
    "math.asin(x[0] + 1.0)": 0.0,
    "math.acos(x[0] - 1.0)": 0.0,
    "math.acosh(x[0] + 1.0)": 0.0,
    "x[0] ** 0.3": 0.0,
    "math.floor(x[0])": 0.0,
    "x[0] if x[0] > 0 else 2.0 * x[0]": 2.0,
    "x[0] % 0.5": 1.0,
}


@pytest.mark.parametrize("expression", KINKS)
def test_kinks_are_finite(expression, tmp_path):
    plant = plant_of(tmp_path, f"{HEAD}def value(x, a):\n    return {expression}\n")
    back = both(plant, "value", SIZES)[1]
    names = back.__globals__
    names["math"] = type("_", (), {name: staticmethod(getattr(np, of)) for name, of in NUMPYS.items()})
    with np.errstate(all="ignore"):
        changes = back(np.zeros(3), np.zeros(2), np.ones(1))
    assert changes[0] == KINKS[expression]
    assert np.isfinite(changes).all()


NUMPYS = {
    "sqrt": "sqrt", "hypot": "hypot", "log": "log", "atan2": "arctan2", "asin": "arcsin", "acos": "arccos",
    "acosh": "arccosh", "floor": "floor",
}  # fmt: skip

UNTAKEN = {
    "a root": "math.sqrt(x[0]) * x[1] if x[0] > 0 else x[1]",
    "a quotient": "x[1] / x[0] * x[2] if x[0] > 0 else x[1]",
    "a logarithm within and": "x[1] if x[0] > 0 and math.log(x[0]) * x[2] > 0 else x[2]",
    "a quotient within a branch within a branch": "(x[2] / (x[0] * x[0]) if x[1] > -1 else x[1]) if x[0] > 0 else x[1]",
    "both": "(1.0 / x[0] + x[1]) if x[0] > 0 else (x[1] / (x[0] - 0.0 + x[2]) if x[0] + x[2] > 0 else x[2])",
}


@pytest.mark.parametrize("expression", UNTAKEN.values(), ids=UNTAKEN)
def test_a_branch_that_is_not_taken_leaves_nothing(expression, tmp_path):
    plant = plant_of(tmp_path, f"{HEAD}def value(x, a):\n    return {expression}\n")
    back = both(plant, "value", SIZES)[1]
    back.__globals__["math"] = np
    for x in ([0.0, 0.7, 0.0], [-1.0, 0.7, 0.3], [0.0, -2.0, 0.0]):
        with np.errstate(all="ignore"):
            changes = back(np.array(x), np.zeros(2), np.ones(1))
        assert np.isfinite(changes).all()


REFUSED = {
    "while": ("    while x[0] > 0:\n        pass\n    return x[0]", "while", 1),
    "break": ("    for v in x:\n        if v > 0:\n            break\n    return x[0]", "break", 3),
    "range": (
        "    t = 0.0\n    for i in range(int(x[0])):\n        t += i\n    return t",
        "a range that is not known",
        2,
    ),
    "list": ("    y = [x[0], x[1]]\n    return y[0]", "a list", 1),
    "lambda": ("    f = lambda v: v\n    return f(x[0])", "lambda", 1),
    "unset": ("    if x[0] > 0:\n        y = x[1]\n    return y", "y, which one branch does not set", 3),
    "no return": ("    if x[0] > 0:\n        return x[1]", "no return", 1),
    "kinds": ("    y = x[0] if x[1] > 0 else (x[0], x[1])\n    return y", "different kinds", 1),
    "unknown function": ("    return print(x[0])", "a call of print", 1),
    "class": ("    return dict(p=x[0])", "a call of dict", 1),
    "bits": ("    return int(x[0]) & 1", "an operation on bits", 1),
    "text": ("    return f'{x[0]}'", "a text", 1),
    "attribute": ("    return x[0].real", "the attribute real", 1),
    "recursion": ("    return value(x, a)", "too many others", 1),
    "zero": ("    return x[0] / 0.0", "a division by 0", 1),
    "entries": ("    return x[5]", "tuple index out of range", 1),
    "slice": ("    return x[0:int(x[0])][0]", "a slice that is not known", 1),
    "assigned entry": ("    x[0] = 1.0\n    return x[0]", "an assignment to no name", 1),
    "in": ("    return 1.0 if x[0] in a else 0.0", "in or is", 1),
    "no number": ("    return (x[0], (x[1], x[2]))", "gives no numbers", None),
    "large": ("    y = x[0]\n    for i in range(60000):\n        y = y * x[1] + i\n    return y", "more than 50000", 3),
}


@pytest.mark.parametrize("body, what, line", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_recorded_is_named_with_its_line(body, what, line, tmp_path):
    plant = plant_of(tmp_path, f"{HEAD}def value(x, a):\n{body}\n")
    with pytest.raises(PlantError) as caught:
        record(plant, "value", SIZES)
    message = str(caught.value)
    assert what in message and "allowed in a gradient: " in message and "\n" not in message
    if line is not None:
        first = plant.source.splitlines().index("def value(x, a):") + 1
        assert f"{plant.module.__file__}:{first + line})" in message and "made.value" in message


def test_a_refusal_within_a_helper_names_the_helper(tmp_path):
    text = "def helper(v):\n    return [v]\n\n\ndef value(x, a):\n    return helper(x[0])\n"
    with pytest.raises(PlantError, match=r"made\.helper: a list in 'return \[v\]'"):
        record(plant_of(tmp_path, text), "value", SIZES)


def test_equal_values_are_computed_once_and_unneeded_ones_not_at_all(tmp_path):
    text = "import math\n\n\ndef value(x, a):\n    unused = math.exp(x[2])\n    y = x[0] * x[1]\n"
    plant = plant_of(tmp_path, f"{text}    return y * y + x[1] * x[0] * y + 0.0 * unused\n")
    back = adjoint(record(plant, "value", SIZES), "back")
    assert "exp" not in back.lines
    assert back.lines.count("x[0] * x[1]") == 1
    only = adjoint(record(plant, "value", SIZES), "back", ("a",))
    assert only.operations == 0 and only.lines.endswith("return (_F(0.0), _F(0.0), )")


def test_minus_gives_the_change_of_the_negative(tmp_path):
    plant = plant_of(tmp_path, "def reward(x, a):\n    return x[0] * x[1]\n")
    names = {"_F": float, "_jit": lambda function: function}
    exec(adjoint(record(plant, "reward", SIZES), "back", ("x",), minus=True).lines, names)
    assert names["back"]((2.0, 3.0, 0.0), (0.0, 0.0), (1.0,)) == (-3.0, -2.0, 0.0)


def test_noise_has_no_slope(tmp_path):
    """The seeds go on as compiled, and nothing leads back to them through a draw."""
    source = """
from neuroctl.maths.noise import draw
from neuroctl.maths.rounding import nearest
def reward(x, a):
    p, q, r = draw(x[0], x[1], x[2])
    return p + 2 * q + 3 * r + nearest(a[0]) * a[1]
"""
    plant = plant_of(tmp_path, source, start=(5.0, 20000.0, 30322.0))
    ahead, back = both(plant, "reward", {"x": 3, "a": 2})
    point = [[5.0, 20000.0, 30322.0], [2.7, 0.5]]
    assert as_tuple(ahead(*point)) == as_tuple(plant.module.reward(*map(tuple, point)))
    assert list(back(*point, [1.0])) == [0.0, 0.0, 0.0, 0.0, 3.0]
