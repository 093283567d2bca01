"""What recorded functions are compared with: the plant's own in plain Python, and central differences of them."""

import math

import numpy as np

from neuroctl.backends.plant import load
from neuroctl.maths import activations
from neuroctl.tracing import adjoint, forward, record

HEAD = """
ACTIONS = {actions}
START = {start}


def observe(x):
    return (x[0],)


def fitness(x, steps, total, recent):
    return total


def step(x, a, dt_s):
    return x

"""
NAMES = {
    "_F": np.float64, "np": np, "math": math, "_jit": lambda function: function,
    "_own_sin": math.sin, "_own_cos": math.cos, "_own_atan": math.atan, "_own_tanh": math.tanh,
    "_own_logistic": activations.logistic, "_own_decay": activations.decay, "_own_log1p": math.log1p,
}  # fmt: skip


def plant_of(tmp_path, source, start=(0.3, -0.7, 1.1), actions=2, name="made"):
    """Return a plant of a text with functions; what it needs besides is put before it."""
    path = tmp_path / f"{name}.py"
    path.write_text(HEAD.format(actions=actions, start=start) + source)
    return load(path)


def compiled(*texts):
    """Return the functions of texts, in plain Python and float64."""
    names = dict(NAMES)
    exec("\n".join(text.lines for text in texts), names)
    return [names[text.name] for text in texts]


def both(plant, name, sizes):
    """Return a function as it was recorded, and its adjoint, in plain Python."""
    return compiled(forward(record(plant, name, sizes), "ahead"), adjoint(record(plant, name, sizes), "back"))


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def central(function, arguments, bar, e=1e-6):
    """Return how sum(bar * function) changes with each entry of the arguments, by differences of fourth order."""

    def value(at):
        outputs = as_tuple(function(*(tuple(each) if isinstance(each, list) else each for each in at)))
        return sum(b * float(y) for b, y in zip(bar, outputs, strict=True))

    changes = []
    for i, argument in enumerate(arguments):
        for j in range(len(argument) if isinstance(argument, list) else 1):

            def moved(by, i=i, j=j):
                at = [list(each) if isinstance(each, list) else each for each in arguments]
                if isinstance(at[i], list):
                    at[i][j] += by
                else:
                    at[i] += by
                return value(at)

            changes.append((8 * (moved(e) - moved(-e)) - (moved(2 * e) - moved(-2 * e))) / (12 * e))
    return np.array(changes)


def assert_right(plant, name, sizes, points, *, e=1e-3, tolerance=1e-6, seed=0):
    """Compare a recorded function with the plant's own, and its adjoint with central differences, at some points."""
    ahead, back = both(plant, name, sizes)
    own, rng = getattr(plant.module, name), np.random.default_rng(seed)
    for point in points:
        exact = as_tuple(own(*(tuple(each) if isinstance(each, list) else each for each in point)))
        with np.errstate(all="ignore"):
            found = ahead(*point)
            bar = rng.standard_normal(len(exact)).tolist()
            changes = np.array(back(*point, bar), float)
        np.testing.assert_allclose(np.array(found, float), np.array(exact, float), rtol=1e-12, atol=1e-14)
        expected = central(own, point, bar, e)
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(changes, expected, rtol=0, atol=tolerance * scale)
