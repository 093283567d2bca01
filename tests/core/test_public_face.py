"""What one sees who types a name at a prompt: examples that run, texts of objects, modules by name."""

import doctest
import subprocess
import sys

import pytest

import neuroctl as nc
from neuroctl import controller, layout, quant, quant_controller, spec
from neuroctl.maths import fixed


@pytest.mark.parametrize(
    "module", [controller, fixed, layout, quant, quant_controller, spec], ids=lambda module: module.__name__
)
def test_examples_in_docstrings_run(module):
    failed, tried = doctest.testmod(module)
    assert tried and not failed


def test_objects_say_what_they_are():
    ctl = nc.Controller(nc.Spec(cell="jordan", inputs=2, neurons=1, outputs=3, dt_s=0.02, input_limits=((-1, 1),) * 2))
    sizes = "jordan: 2 inputs, 1 neuron, 3 outputs, dt_s 0.02, 12 parameters"
    assert repr(ctl) == f"<Controller {sizes}, float32>"
    assert repr(ctl.quantize()) == f"<QuantController {sizes}, fixed point>"
    assert repr(ctl.layout) == "<Layout W_in[1, 2], U[1, 3], bias[1], W_out[3, 1], b_out[3]: 12 numbers>"


def test_what_is_listed_is_for_users():
    assert {"Controller", "evolve", "__version__"} <= set(dir(nc))
    assert not {"Final", "ModuleType", "import_module", "siblings"} & set(dir(nc))
    assert all(hasattr(nc, name) for name in dir(nc))


def test_modules_come_when_they_are_named():
    code = (
        "import sys, neuroctl as nc; early = {'neuroctl.evolve', 'neuroctl.link'} & set(sys.modules);"
        "assert not early, early; assert 'evolve' in dir(nc); nc.evolve.StudyConfig; nc.backends.get; nc.realtime.Loop"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="has no attribute 'evolution'"):
        _ = nc.evolution
