"""Names of inputs and outputs: what is one, what C calls it, and what they protect from."""

import json

import pytest

import neuroctl as nc
from neuroctl.errors import LoopError, TaskError
from neuroctl.realtime import Loop
from neuroctl.signal_names import difference, identifier, names_from, split_name
from sims import controller_spec, record

NAMES = {"input_names": ("pole angle [rad]", "cart position [m]"), "output_names": ("force on the cart [N]",)}


def named(**fields):
    usual = {"cell": "elman", "inputs": 2, "neurons": 3, "outputs": 1, "dt_s": 0.02, "input_limits": ((-1, 1),) * 2}
    return nc.Spec(**(usual | NAMES | fields))


def test_a_name_has_a_text_a_unit_and_a_constant_in_c():
    assert split_name("pole angle [rad]") == ("pole angle", "rad")
    assert split_name("left eye") == ("left eye", "")
    told = ["pole's angle [rad/s]", "ray at -15 deg", "ray at +15 deg", "target, x [m]", "b2-4", "speed (rpm)"]
    names = ["POLES_ANGLE", "RAY_AT_MINUS_15_DEG", "RAY_AT_PLUS_15_DEG", "TARGET_X", "B2_4", "SPEED_RPM"]
    assert [identifier(name) for name in told] == names


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a",), "input_names: 1 names; allowed: exactly 2, or none"),
        ("ab", "input_names: 'ab'; allowed: names in order, such as "),
        (("a", "a"), r"input_names\[1\]: 'a' again; allowed: each name once"),
        (("a b", "a_b"), r"input_names\[1\]: 'a_b'; allowed: another name, as C calls both this and 'a b' A_B"),
        (("a */ int x; /*", "b"), r"input_names\[0\]: 'a \*/ int x; /\*'; allowed: a text of up to 64 ASCII"),
        (("a // b", "b"), r"input_names\[0\]: 'a // b'; allowed: no /\*, \*/, //"),
        (("b", "n [m*/s]"), r"input_names\[1\]: .* allowed: no /\*, \*/, //"),
        (("frac bits", "b"), r"input_names\[0\]: 'frac bits'; allowed: letters or digits in it, and not FRAC_BITS"),
        (("--", "b"), r"input_names\[0\]: '--'; allowed: letters or digits"),
        (("a\nb", "b"), r"input_names\[0\]: 'a\\nb'; allowed: a text"),
        (("é", "b"), r"input_names\[0\]: 'é'; allowed: a text"),
        (("a" * 65, "b"), r"input_names\[0\]: .* allowed: a text of up to 64"),
        ((1, 2), r"input_names\[0\]: 1; allowed: a text"),
        (7, "input_names: 7; allowed: names in order"),
        ({"a", "b"}, "input_names: .*; allowed: names in order"),
        ((" a", "b"), r"input_names\[0\]: ' a'; allowed: single spaces, none at the ends"),
        (("a", "b  c"), r"input_names\[1\]: 'b  c'; allowed: single spaces, none at the ends"),
    ],
)
def test_what_is_no_name_is_refused(names, told):
    with pytest.raises(nc.SpecError, match=f"^{told}"):
        named(input_names=names)


def test_columns_of_tables_become_names():
    assert names_from(["Motor Speed (rpm)", "Temp °C", "u [V]"]) == ("Motor Speed (rpm)", "Temp C", "u [V]")
    assert names_from(["a//b;"]) == ("a_b_",)
    assert names_from(["a" * 63 + " b", "*" * 70]) == ()
    assert names_from(["a" * 63 + " b", "b;" + " " + "b" * 80]) == ("a" * 63, "b_ " + "b" * 61)
    assert names_from(["a b", "a_b"]) == names_from(["日本"]) == names_from(["frac_bits"]) == ()


def test_names_survive_files_quantization_and_pruning(tmp_path):
    spec = named()
    assert nc.Spec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert "input_names" not in named(input_names=(), output_names=()).to_dict()
    ctl = nc.Controller(spec, meta={"task": "balance"})
    ctl.save(tmp_path / "c.npz")
    q = nc.load(tmp_path / "c.npz").quantize()
    q.save(tmp_path / "q.npz")
    again = nc.load(tmp_path / "q.npz")
    assert (again.spec, again.meta, again.model_crc32) == (spec, {"task": "balance"}, q.model_crc32)
    assert nc.prune(ctl).spec.input_names == spec.input_names
    assert nc.Controller(named(encoder=(3,), head=(2,))).quantize().spec.input_names == spec.input_names
    swapped = named(input_names=spec.input_names[::-1])
    assert nc.Controller(swapped, ctl.theta).quantize().model_crc32 != q.model_crc32


def test_the_first_difference_counts_where_both_have_names():
    assert difference(("a", "b"), ()) is difference((), ("a",)) is difference(("a",), ("a",)) is None
    assert difference(("a", "b"), ("a", "c")) == (1, "'b'", "'c'")
    assert difference(("a [deg]",), ("a [rad]",)) == (0, "'a [deg]'", "'a [rad]'")


def test_a_task_refuses_another_order():
    spec = controller_spec("phototaxis", 2, cell="elman")
    assert spec.input_names == ("left eye", "right eye")
    fields = spec.to_dict()
    swapped = nc.Spec.from_dict(fields | {"input_names": ["right eye", "left eye"]})
    told = r"^input_names\[0\]: 'right eye'; task 'phototaxis' needs a controller with 'left eye' there$"
    with pytest.raises(TaskError, match=told):
        record("phototaxis", nc.Controller(swapped), seed=0)
    record("phototaxis", nc.Controller(nc.Spec.from_dict(fields | {"input_names": []})), seed=0, max_steps=3)


class Plant:
    inputs, outputs = 2, 1

    def __init__(self, **names):
        self.__dict__ |= names

    def read(self, u):
        u[:] = 0.5

    def write(self, y):
        pass


def test_a_loop_refuses_a_plant_of_another_order():
    ctl = nc.Controller(named())
    Loop(ctl, Plant(**NAMES))
    Loop(ctl, Plant())
    told = r"^plant: input_names\[0\]: 'cart position \[m\]'; allowed: 'pole angle \[rad\]', the controller's$"
    for plant in (
        Plant(input_names=list(NAMES["input_names"][::-1])),
        Plant(spec=named(input_names=NAMES["input_names"][::-1])),
    ):
        with pytest.raises(LoopError, match=told):
            Loop(ctl, plant)
    Loop(ctl, Plant(spec=named(input_names=())))
    with pytest.raises(LoopError, match=r"^plant: output_names\[0\]: 'torque \[Nm\]'; allowed: 'force on the cart"):
        Loop(ctl, Plant(output_names=("torque [Nm]",)))
