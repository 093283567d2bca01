"""The template of a cell is one: copied, named and put into the tables, it computes what its equation says."""

import importlib.util
import sys
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

import neuroctl as nc
from neuroctl import cells
from neuroctl import spec as specs
from neuroctl.backends import get
from neuroctl.cells import decode, genome_size
from neuroctl.errors import ExportError

TEMPLATE = Path(cells.__file__).with_name("_TEMPLATE.py")
TOLERANCE = {"float64": 1e-9, "float32": 2e-4}  # as docs/conformance.md states it
FUNCTIONS = {"tanh": np.tanh, "logistic": lambda x: 1 / (1 + np.exp(-x)), "relu": lambda x: np.maximum(x, 0)}


def test_the_template_is_in_no_table():
    with pytest.raises(nc.NeuroctlError, match="allowed: ctrnn, "):
        nc.Spec(cell="name_of_the_network", inputs=1, neurons=1, outputs=1, dt_s=0.1)


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    """A copy of the template in the tables, as ``leaky``."""
    path = tmp_path_factory.mktemp("cells") / "leaky.py"
    path.write_text(TEMPLATE.read_text().replace('"name_of_the_network"', '"leaky"'))
    module_spec = importlib.util.spec_from_file_location("cell_from_template", path)
    module = importlib.util.module_from_spec(module_spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cell_from_template", module)
        module_spec.loader.exec_module(module)
        rules = specs._Rules(activations=tuple(FUNCTIONS))
        patch.setattr(specs, "_RULES", MappingProxyType({**specs._RULES, "leaky": rules}))
        patch.setattr(specs, "CELL_NAMES", (*specs.CELL_NAMES, "leaky"))
        patch.setattr(cells, "CELLS", MappingProxyType({**cells.CELLS, "leaky": module.CELL}))
        yield "leaky"


def case(cell, **fields):
    """A spec, its theta and recorded inputs."""
    usual = {"inputs": 3, "neurons": 5, "outputs": 2, "dt_s": 0.05, "output_limits": ((-0.4, 0.4),) * 2}
    spec = nc.Spec(cell=cell, **(usual | fields))
    rng = np.random.default_rng(4)
    theta = decode(spec, 0.5 * rng.standard_normal(genome_size(spec)))
    cells.layout(spec).views(theta)["W_out"][:] *= 6  # beyond the limits at times
    return spec, theta, rng.uniform(-1, 1, (40, 3)).astype(spec.dtype)


def plain(spec, theta, inputs):
    """The equation, in NumPy's float64."""
    p, h, outputs = cells.layout(spec).views(theta.astype(float)), np.zeros(spec.neurons), []
    for u in inputs:
        h = h + p["leak"] * (FUNCTIONS[spec.activation](p["W_in"] @ u + p["U"] @ h + p["bias"]) - h)
        outputs.append(np.clip(p["W_out"] @ h + p["b_out"], *np.transpose(spec.output_limits)))
    return np.array(outputs)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_it_computes_its_equation(leaky, activation, dtype):
    spec, theta, inputs = case(leaky, activation=activation, dtype=dtype)
    controller = nc.Controller(spec, theta)
    stepped = np.array([controller.step(u).copy() for u in inputs])
    expected = plain(spec, theta, inputs)
    np.testing.assert_allclose(stepped, expected, rtol=0, atol=TOLERANCE[dtype])
    assert (np.abs(expected) == 0.4).any() and (np.abs(expected) < 0.4).any()
    controller.reset()
    assert controller.rollout(inputs).tobytes() == stepped.tobytes()
    lanes = get("cpu").rollout(spec, np.stack([theta] * 3, axis=1), inputs).outputs
    np.testing.assert_allclose(lanes, np.stack([expected] * 3, axis=2), rtol=0, atol=TOLERANCE[dtype])
    np.testing.assert_array_equal(lanes[..., 0], lanes[..., 2])


def test_no_gene_leaves_its_bounds(leaky):
    spec, _, _ = case(leaky)
    for genome in (np.zeros(genome_size(spec)), np.full(genome_size(spec), 1e3), np.full(genome_size(spec), -1e3)):
        nc.Controller(spec, decode(spec, genome))
    leak = nc.Controller(spec, decode(spec, np.zeros(genome_size(spec)))).params["leak"]
    assert leak.tolist() == pytest.approx([0.5] * 5)


def test_what_is_no_number_leaves_its_state_alone(leaky):
    spec, theta, inputs = case(leaky)
    controller = nc.Controller(spec, theta)
    last, state = controller.step(inputs[0]).copy(), controller.state[: spec.neurons].copy()
    assert controller.step(np.array([np.nan, 0, 0], np.float32)).tolist() == last.tolist()
    assert controller.fault and controller.state[: spec.neurons].tolist() == state.tolist()


def test_without_an_integer_form_it_is_not_quantized(leaky):
    spec, theta, _ = case(leaky, input_limits=((-1, 1),) * 3)
    with pytest.raises(ExportError, match=r"^cell: 'leaky'; allowed in fixed point: ctrnn, "):
        nc.Controller(spec, theta).quantize()
