"""The plants against their equations and published figures, and what is said of a bad plant."""

import math
import textwrap
from pathlib import Path

import numba
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.backends import plant as plants
from neuroctl.backends.kernels import build, head
from neuroctl.cells import initial
from neuroctl.errors import PlantError
from sims.plants import circle_catcher, double_pole, phototaxis, walker
from tests.backends.plain import episode, runge_kutta


def cart_and_poles(_, s, force):
    """The equations of Gomez, Schmidhuber and Miikkulainen (2008), written once more, pole by pole."""
    x, xd, *poles = s
    g, mass, total = -9.8, 1.0, 0.0
    parts = []
    for (th, thd), m, half in zip((poles[:2], poles[2:]), (0.1, 0.01), (0.5, 0.05), strict=True):
        rub = 2e-6 * thd / (m * half)
        total += m * half * thd**2 * math.sin(th) + 0.75 * m * math.cos(th) * (rub + g * math.sin(th))
        mass += m * (1 - 0.75 * math.cos(th) ** 2)
        parts.append((th, thd, rub, half))
    xdd = (force - 5e-4 * np.sign(xd) + total) / mass
    turns = [-3 / (4 * half) * (xdd * math.cos(th) + g * math.sin(th) + rub) for th, _, rub, half in parts]
    return [xd, xdd, parts[0][1], turns[0], parts[1][1], turns[1]]


@pytest.mark.parametrize(("force", "speed"), [(10.0, 0.5), (-3.0, -0.5), (0.05, -1.0)])
def test_double_pole_equals_scipy(force, speed):
    """With steps so short that Runge-Kutta's own error vanishes, and no stop of the cart, where friction jumps."""
    x = start = (0.0, speed, 0.07, 0.1, 0.02, -0.3)
    for _ in range(3000):
        x = runge_kutta(double_pole.derivative, x, (force,), 1e-4)
    exact = solve_ivp(cart_and_poles, (0, 0.3), start, args=(force,), method="DOP853", rtol=1e-13, atol=1e-13)
    assert (np.sign(exact.y[1]) == np.sign(speed)).all()
    np.testing.assert_allclose(x, exact.y[:, -1], rtol=1e-9, atol=1e-9)


def test_double_pole_force_is_clipped_and_never_weak():
    forces = [double_pole.force((f,)) for f in (99.0, -99.0, 0.0, 1e-3, -1e-3, 5.0)]
    assert forces == [10.0, -10.0, 10 / 256, 10 / 256, -10 / 256, 5.0]


def test_double_pole_ends_off_the_track_beyond_36_degrees_and_on_nan():
    edges = [(2.39, 0, 0.62, 0, 0.62, 0), (2.41, 0, 0, 0, 0, 0), (0, 0, 0.63, 0, 0, 0), (0, 0, 0, 0, math.nan, 0)]
    assert [double_pole.done(x) for x in edges] == [False, True, True, True]


def test_the_perfect_stepper_walks_at_the_published_speed():
    """Push while the leg stands, lift it where the body would fall, swing it forward, set it down at its limit."""
    x, stands = walker.START, True
    for _ in range(2200):
        if not stands and x[3] >= walker.MAX_ANGLE:
            stands = True
        elif stands and -x[5] > walker.REACH:
            stands = False
        x = walker.step(x, (1.0, 1.0, 0.0) if stands else (0.0, 0.0, 1.0), 0.1)
    assert abs(walker.fitness(x, 2200, 0.0, 0.0) - 0.6264) < 5e-5


def test_no_schedule_of_full_pushes_and_swings_passes_the_bound():
    """Dynamic programming over the lengths of all swings and pushes.

    A foot lifted beyond the leg's limit swings from the limit, at rest, whatever came before: cycles add up.
    """
    push, swing, steps = (1.0, 1.0, 0.0), (0.0, 0.0, 1.0), 2200

    def pushed(x):
        """Distance after so many steps of a push that begins here, and whether the leg is beyond its limit."""
        distance, beyond = [0.0], [False]
        begin = x[0]
        while x[1] > 0.0 or len(distance) == 1:
            x = walker.step(x, push, 0.1)
            distance.append(x[0] - begin)
            beyond.append(x[3] < -walker.MAX_ANGLE)
        return np.array(distance), np.array(beyond), x

    first, lifts, x = pushed(walker.START)
    cycles = []
    while not cycles or x[3] < walker.MAX_ANGLE:
        x = walker.step(x, swing, 0.1)
        cycles.append(pushed(x)[:2])
    best = np.zeros(steps + 1)  # distance within so many steps that begin with a swing
    for left in range(1, steps + 1):
        for swung, (distance, beyond) in enumerate(cycles[: left - 1], 1):
            ends = np.arange(min(len(distance), left - swung + 1))
            then = np.where(beyond[ends], best[left - swung - ends], 0.0)
            best[left] = max(best[left], float((distance[ends] + then).max()))
    ends = np.flatnonzero(lifts)
    bound = float((first[ends] + best[steps - ends]).max()) / walker.DURATION
    assert abs(bound - 0.6328) < 5e-5
    pace = max((d[-1] / (0.1 * (k + len(d) - 1))) for k, (d, _) in enumerate(cycles, 1))
    assert abs(pace - 0.6278) < 5e-5


def test_the_template_runs():
    """A PD law on sine and cosine of the angle would need the velocity; standing at rest at the top needs nothing."""
    spec = nc.Spec(cell="elman", inputs=2, neurons=3, outputs=1, dt_s=0.02)
    path = Path(walker.__file__).with_name("_TEMPLATE.py")
    got = get("cpu").rollout(spec, np.zeros(len(nc.Controller(spec).theta), np.float32), path, 500, starts=[0.0, 0.0])
    assert (got.fitness[0], got.steps[0]) == (500, 500)
    assert get("cpu").rollout(spec, nc.Controller(spec, seed=0).theta, path, 500).steps[0] < 500


def written(tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(text))
    return path


GOOD = """
    START = (0.0, 1)
    ACTIONS = 1
    def step(x, a, dt_s):
        return x[0] + dt_s * a[0], x[1]
    def observe(x):
        return (x[0],)
    def fitness(x, steps, total, recent):
        return x[0]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("START = (0.0, 1)", "START = [0.0]", "mine.START: [0.0]; allowed: a tuple of numbers"),
        ("ACTIONS = 1", "ACTIONS = 0", "mine.ACTIONS: 0; allowed: integers >= 1"),
        ("ACTIONS = 1", "ACTIONS = 1; WINDOW = 1.5", "mine.WINDOW: 1.5; allowed: integers >= 1"),
        ("ACTIONS = 1", "ACTIONS = 1; DT_S = -1", "mine.DT_S: -1; allowed: seconds, greater than 0"),
        ("def step", "def leap", "mine: no derivative, no step; allowed: exactly one of them"),
        (
            "ACTIONS = 1",
            "ACTIONS = 1\n    def derivative(x, a): return x",
            "mine: derivative and step; allowed: exactly",
        ),
        ("def fitness", "def score", "mine.fitness: missing; allowed: a function"),
        ("return (x[0],)", "return x[0]", "mine.observe: gives float at START; allowed: a tuple of numbers"),
        ("return (x[0],)", "return (x[7],)", "mine.observe: at START: IndexError: tuple index out of range ("),
        ("START = (0.0, 1)", "START = (0.0, 1", "SyntaxError"),
        ("ACTIONS = 1", "ACTIONS = 1; cost = 3", "mine.cost: 3; allowed: a function, or none"),
        ("ACTIONS = 1", "ACTIONS = 1; critic = None", "mine.critic: None; allowed: a function, or none"),
        ("ACTIONS = 1", "ACTIONS = 1\n    def cost(x, a): return x", "mine.cost: gives tuple at START; allowed"),
        ("ACTIONS = 1", "ACTIONS = 1\n    def cost(x): return 1", "mine.cost: at START: TypeError: cost() takes 1"),
        ("ACTIONS = 1", "ACTIONS = 1\n    def critic(x): return x[0]", "mine.critic: gives float at START; allowed"),
        ("ACTIONS = 1", "ACTIONS = 1\n    def critic(x): return ()", "mine.critic: gives tuple at START; allowed"),
        ("ACTIONS = 1", "ACTIONS = 1\n    def critic(x): return x[5],", "mine.critic: at START: IndexError: tuple"),
    ],
)
def test_a_bad_plant_is_named(tmp_path, old, new, message):
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(PlantError) as error:
        plants.load(path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "return x[0] + dt_s * a[0], x[1]",
            "return x[0], x[1], a[0]",
            "step: gives 3 numbers at START; allowed",
        ),
        (
            "return x[0] + dt_s * a[0], x[1]",
            "return [x[0], x[1]]",
            "step: gives list at START; allowed: a tuple",
        ),
        (
            "x[0] + dt_s * a[0], x[1]",
            "x[0].foo, x[1]",
            "step: at START: AttributeError: 'float' object",
        ),
    ],
)
def test_a_bad_first_step_is_named(tmp_path, old, new, message):
    with pytest.raises(PlantError) as error:
        plants.load(written(tmp_path, GOOD.replace(old, new)))
    assert f"mine.{message}" in str(error.value)


def test_a_critic_sees_what_it_is_given_else_the_observation(tmp_path):
    assert plants.load(written(tmp_path, GOOD)).critic_observations == 1
    path = tmp_path / "other.py"
    path.write_text(textwrap.dedent(GOOD) + "def critic(x):\n    return x[0], x[1], x[0] * x[1]\n")
    plant = plants.load(path)
    assert (plant.observations, plant.critic_observations) == (1, 3)


def test_a_cost_that_divides_by_zero_is_left_to_compiled_code(tmp_path):
    plants.load(written(tmp_path, GOOD + "    def cost(x, a): return 1 / a[0]\n"))


def test_kernels_have_a_cost_and_a_critic_of_every_plant(tmp_path):
    def made(text):
        plant = plants.load(written(tmp_path, text))
        return build(head({}, "float32", f"functions of {plant.name}", plant), f"functions_{plant.name}")

    x, a = (0.25, 1.0), (3.0,)
    own = made(GOOD + "    def reward(x, a): return x[0] * a[0]\n")
    assert (own.cost(x, a), own.critic(x)) == (-0.75, (0.25,))
    assert made(GOOD).cost(x, a) == 0
    given = made(GOOD + "    def cost(x, a): return 0.5 * x[0]\n    def critic(x): return x\n")
    assert (given.cost(x, a), given.critic(x)) == (0.125, x)


def test_a_first_step_that_divides_by_zero_is_left_to_compiled_code(tmp_path):
    plants.load(written(tmp_path, GOOD.replace("x[0] + dt_s * a[0]", "x[0] / a[0]")))


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_what_cannot_be_compiled_is_named_in_the_plant_that_is_varied(tmp_path):
    (tmp_path / "base.py").write_text(textwrap.dedent(GOOD).lstrip().replace("x[0] + dt_s * a[0]", "[x[0], a[0]][0]"))
    path = tmp_path / "mine.py"
    path.write_text("from base import *\n\n\ndef observe(x):\n    return (x[1],)\n")
    spec = nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.02)
    with pytest.raises(PlantError, match=r"memory would be allocated in 'return \[.*base.py:4\)"):
        get("cpu").rollout(spec, nc.Controller(spec).theta, path, 5)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return x[0]\n", "return x.size\n", r"Unknown attribute 'size' of type .* in 'return x.size' \(.*mine.py:9\)"),
        ("(x[0],)", "(np.clip(x[0], 0, 1),)", r"no compiled form of clip\(.*\) in 'return \(np.clip.*mine.py:7\)"),
        ("x[0] + dt_s * a[0]", "[x[0], a[0]][0]", r"memory would be allocated in 'return \[.*mine.py:5\)"),
    ],
)
def test_what_cannot_be_compiled_is_named_by_its_own_line(tmp_path, old, new, message):
    path = written(tmp_path, "import numpy as np\n" + textwrap.dedent(GOOD).replace(old, new).lstrip())
    spec = nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.02)
    with pytest.raises(PlantError, match=message) as error:
        get("cpu").rollout(spec, nc.Controller(spec).theta, path, 5)
    assert "\n" not in str(error.value) and "allowed: what Numba compiles" in str(error.value)


def test_a_plant_may_vary_another(tmp_path):
    """The base's functions see what the variant replaces, in plain Python as in compiled code."""
    (tmp_path / "base.py").write_text(textwrap.dedent(GOOD).replace("dt_s * a[0]", "dt_s * GAIN * a[0]") + "GAIN = 2.0")
    path = tmp_path / "mine.py"
    imports = "from math import inf\nfrom base import *\nfrom base import (\n    step,\n)\n"
    path.write_text(imports + "GAIN = 3.0\n\n\ndef observe(x):\n    return x[1], x[0]\n")
    plant = plants.load(path)
    assert (plant.name, plant.observations, plant.start) == ("mine", 2, (0.0, 1.0))
    assert plants.next_state(plant, (1.0, 1.0), (1.0,), 0.5) == (2.5, 1.0)
    assert plants.load(plant.module) is plants.load(path) is plant
    built = build(head({}, "float32", "variant", plant), "variant")
    assert built._next((1.0, 1.0), (1.0,), 0.5) == (2.5, 1.0)
    assert built.observe((1.0, 2.0)) == (2.0, 1.0)
    base, count = plant.files[0]
    assert plant.place_of(count) == f"{base}:{count}"
    assert plant.place_of(count + 2) == f"{path}:2"
    (tmp_path / "base.py").write_text(textwrap.dedent(GOOD).replace("dt_s * a[0]", "dt_s * (GAIN + a[0])"))
    assert plants.next_state(plants.load(path), (1.0, 1.0), (1.0,), 0.5) == (3.0, 1.0)


def test_plants_that_vary_each_other_are_named(tmp_path):
    (tmp_path / "base.py").write_text("from mine import *\n")
    (tmp_path / "mine.py").write_text("from base import *\n")
    with pytest.raises(PlantError, match=r"mine: varies mine.py, which varies it; allowed: another plant"):
        plants.load(tmp_path / "mine.py")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(PlantError, match="allowed: a module, or the path of a Python file"):
        plants.load(tmp_path / "none.py")


def test_numbers_are_typed_but_for_indices_exponents_and_ranges(tmp_path):
    text = plants.typed_source(
        plants.load(
            written(
                tmp_path,
                GOOD
                + """
    K = 2.5
    LOW, HIGH = -1.5, 1.5
    def helper(x: float) -> float:
        "Half of it."
        total = 0
        for i in range(3):
            total += x[1] ** 2 * K
        return -1.5 * total
    """,
            )
        )
    )
    assert "K = _typed(K)" in text
    assert "LOW = _typed(LOW)" in text and "HIGH = _typed(HIGH)" in text
    assert "total = _F(0)" in text
    assert "range(3)" in text
    assert "x[1] ** 2 * K" in text
    assert "return -_F(1.5) * total" in text
    assert "@_jit\ndef helper(x):" in text


def test_rays_of_the_circle_catcher():
    """Straight below the middle ray sees the circle's rim; a ray that passes by, or ends before it, sees nothing."""
    assert circle_catcher.observe((0.0, 0.0, 128.0, 0, 0))[3] == pytest.approx(1 - (128 - 13 - 15) / 220)
    aside = circle_catcher.observe((0.0, 40.0, 200.0, 0, 0))
    angle = math.atan2(40, 200)
    half = math.asin(13 / math.hypot(40, 200))
    assert [ray > 0 for ray in aside] == [abs(a - angle) <= half for a in circle_catcher.ANGLES]
    assert circle_catcher.observe((0.0, 0.0, 260.0, 0, 0)) == (0.0,) * 7
    assert circle_catcher.observe((0.0, 0.0, 20.0, 0, 0))[3] == 1.0


def test_following_the_circle_catches_it():
    """Whoever moves as the circle does catches it; whoever stands still does not."""
    ends = []
    for follows in (True, False):
        x = circle_catcher.START
        while not circle_catcher.done(x):
            right = min(1.0, max(-1.0, (x[1] - x[0]) / 5)) if follows else 0.0
            x = circle_catcher.step(x, (max(right, 0.0), max(-right, 0.0)), 0.1)
        ends.append(circle_catcher.fitness(x, 1, 0.0, 0.0))
    assert ends[0] > 0.99
    assert ends[1] < 0.8


def test_a_crossed_vehicle_reaches_the_light():
    """Braitenberg's vehicle 2b: each eye drives the other side's wheel, and it turns to the light; 2a flees."""
    reached = {}
    for name, crossed in (("2b", True), ("2a", False)):
        x, total = phototaxis.START, 0.0
        for _ in range(1500):
            left, right = phototaxis.observe(x)
            a = (3 * right, 3 * left) if crossed else (3 * left, 3 * right)
            x = runge_kutta(phototaxis.derivative, x, a, 0.05)
            total += phototaxis.reward(x, a)
        reached[name] = phototaxis.fitness(x, 1500, total, 0.0)
    assert reached["2b"] > 0.75
    assert reached["2a"] < 0.05
    assert math.hypot(phototaxis.START[3], phototaxis.START[4]) == phototaxis.FIRST_DISTANCE


@pytest.mark.parametrize(("plant", "inputs"), [(circle_catcher, 7), (phototaxis, 2)])
def test_compiled_tasks_equal_the_plain_form(plant, inputs):
    spec = nc.Spec(cell="ctrnn", inputs=inputs, neurons=4, outputs=2, dt_s=0.1, output_limits=((0, 1),) * 2)
    thetas = [initial(spec, seed) for seed in range(6)]
    episodes = get("cpu").rollout(spec, np.ascontiguousarray(np.stack(thetas, axis=1)), plant, 300)
    for p, theta in enumerate(thetas):
        fitness, steps, x = episode(spec, theta, plant, 300)
        assert episodes.steps[p] == steps
        assert episodes.fitness[p] == pytest.approx(fitness, abs=2e-3)


@pytest.mark.parametrize("plant", [circle_catcher, phototaxis, walker])
def test_a_seed_draws_a_start_within_its_range(plant):
    entry = plants.load(plant)
    low, high = np.array(entry.starts).T
    drawn = np.array([entry.start_of(seed) for seed in range(50)])
    assert (low <= drawn).all()
    assert (drawn <= high).all()
    assert np.array_equal(drawn[7], entry.start_of(7))
    assert entry.same_start == (plant is walker) == (len({tuple(row) for row in drawn}) == 1)


def test_a_range_draws_whole_numbers(tmp_path):
    plant = plants.load(written(tmp_path, GOOD + "    STARTS = ((-1, 1), range(3, 6))\n"))
    assert (plant.starts, plant.whole) == (((-1.0, 1.0), (3.0, 5.0)), (False, True))
    drawn = plant.draw_starts(np.random.default_rng(1), 300)
    assert drawn.shape == (2, 300) and drawn.flags.c_contiguous
    assert set(drawn[1]) == {3.0, 4.0, 5.0}
    assert (np.abs(drawn[0]) < 1).all()
    assert plant.start_of(1) == tuple(drawn[:, 0])
    assert not plant.same_start


@pytest.mark.parametrize(
    "starts",
    [
        "((0, 1), range(3, 3))",
        "((0, 1), range(0, 9, 2))",
        "((0, 1),)",
        "((0, 1), (2, 1))",
        "((0, 1), 3)",
        "((0, 1), (0, float('inf')))",
    ],
)
def test_bad_ranges_of_starts_are_named(tmp_path, starts):
    file = tmp_path / "bad.py"
    file.write_text(
        f"ACTIONS = 1\nSTART = (0.0, 0.0)\nSTARTS = {starts}\ndef step(x, a, h): return x\n"
        "def observe(x): return (x[0],)\ndef fitness(x, steps, total, recent): return x[0]\n"
    )
    with pytest.raises(PlantError, match=r"bad.STARTS: .*allowed: 2 pairs"):
        plants.load(file)
