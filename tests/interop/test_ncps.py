"""CfCs of ncps become controllers that give the same outputs; what cannot be taken over is named."""

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import InteropError
from neuroctl.interop import from_ncps, from_torch
from tests.commands import neuroctl, one_line_error

torch = pytest.importorskip("torch", reason="its networks are what is imported")
ncps = pytest.importorskip("ncps.torch", reason="ncps is not installed: CfCs are not compared with its own")
wirings = pytest.importorskip("ncps.wirings", reason="ncps is not installed: CfCs are not compared with its own")
nn, CfC, CfCCell = torch.nn, ncps.CfC, ncps.CfCCell
DT = 0.02


class Policy(nn.Module):
    """A CfC between dense layers."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.first, self.squash = nn.Linear(3, 6), nn.Tanh()
        self.memory = CfC(6, 5, backbone_units=8)
        self.last, self.end, self.factor = nn.Linear(5, 2), nn.Sigmoid(), factor

    def forward(self, u):
        y, h = self.memory(self.squash(self.first(u)))
        return self.factor * self.end(self.last(y)), h


def wired(seed=1):
    return wirings.Random(7, output_dim=7, sparsity_level=0.5, random_seed=seed)


MODULES = {
    "default": lambda: CfC(3, 6, backbone_units=10),
    "default, 128 units": lambda: CfC(3, 6),
    "no gate": lambda: CfC(3, 6, mode="no_gate", backbone_units=10, batch_first=False),
    "3 layers": lambda: CfC(3, 6, backbone_units=9, backbone_layers=3, backbone_dropout=0.2, proj_size=2),
    "relu": lambda: CfC(3, 6, activation="relu", backbone_units=9, backbone_layers=2, mode="no_gate"),
    "tanh": lambda: CfC(3, 6, activation="tanh", backbone_units=9, return_sequences=False),
    "no backbone": lambda: CfC(3, 6, backbone_layers=0, proj_size=4),
    "cell": lambda: CfCCell(3, 6, backbone_units=9),
    "wired": lambda: CfC(3, wired(), proj_size=2),
    "wired, no gate": lambda: CfC(3, wired(2), mode="no_gate"),
    "wired cell": lambda: ncps.WiredCfCCell(3, wirings.FullyConnected(5, 2)),
    "policy": Policy,
}


def made(name):
    torch.manual_seed(0)
    module = MODULES[name]()
    with torch.no_grad():
        for key, values in module.named_parameters():
            if values.requires_grad:  # biases that matter, and heads that are not the same
                values += 0.3 * torch.randn_like(values) * (1.0 if key.endswith("bias") else 0.3)
    return module


def outputs(module, u):
    """What ncps gives for inputs ``[T, m]``, step by step."""
    if isinstance(module, (CfCCell, ncps.WiredCfCCell)):
        h, rows = torch.zeros(1, getattr(module, "hidden_size", None) or module.state_size), []
        for row in torch.from_numpy(u):
            y, h = module(row[None], h, 1.0)
            rows.append(y)
        return torch.cat(rows).detach().numpy()
    h, rows, first = None, [], getattr(module, "batch_first", True)
    if not isinstance(module, CfC):
        return module.eval()(torch.from_numpy(u)[None])[0][0].detach().numpy()
    for row in torch.from_numpy(u):
        y, h = module.eval()(row[None, None], h)
        rows.append(y.reshape(-1))
    assert first in (True, False)
    return torch.stack(rows).detach().numpy()


@pytest.mark.parametrize("name", MODULES)
def test_a_module_gives_the_same_outputs(name):
    module = made(name)
    controller = from_ncps(module, dt_s=DT)
    u = np.random.default_rng(5).uniform(-2, 2, (1000, 3)).astype(np.float32)
    expected = outputs(module, u)
    assert np.abs(controller.rollout(u) - expected).max() < 1e-5 and expected.std() > 0.05


@pytest.mark.parametrize("name", [name for name in MODULES if name != "policy"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_gives_what_the_module_gives(name, suffix, tmp_path):
    module, path = made(name), tmp_path / f"cfc{suffix}"
    if suffix == ".pt":
        torch.save(module.state_dict(), path)
    else:
        pytest.importorskip("safetensors.torch", reason="safetensors is not installed").save_file(
            {key: values.contiguous() for key, values in module.state_dict().items()}, path
        )
    mode = "no_gate" if "no gate" in name or name == "relu" else "default"
    function = name if name in ("relu", "tanh") else None if name == "no backbone" or "wired" in name else "lecun_tanh"
    controller, other = from_ncps(path, dt_s=DT, mode=mode, activation=function), from_ncps(module, dt_s=DT)
    assert controller.spec == other.spec and (controller.theta == other.theta).all()


@pytest.mark.parametrize("name", ["default", "no gate", "cell", "wired cell", "no backbone"])
def test_a_timespan_is_folded_into_the_weights(name):
    module, span = made(name), 0.37
    controller = from_ncps(module, dt_s=DT, timespan=span)
    assert not (controller.theta == from_ncps(module, dt_s=DT).theta).all()
    u = np.random.default_rng(1).uniform(-2, 2, (50, 3)).astype(np.float32)
    if isinstance(module, CfC):
        first = module.batch_first
        rows, spans = torch.from_numpy(u), torch.full((1, 50) if first else (50, 1), span)
        expected = module(rows[None] if first else rows[:, None], timespans=spans)[0].reshape(50, -1)
        assert np.abs(controller.rollout(u) - expected.detach().numpy()).max() < 1e-5


def test_the_integers_of_a_wired_network_have_its_zeros():
    controller = from_ncps(made("wired"), dt_s=DT, input_limits=((-2, 2),) * 3)
    weights = controller.params["U"].reshape(3, 7, 7)
    assert (weights != 0).all(), "neurons of one layer all hear each other"
    assert (controller.params["W_in"].reshape(3, 7, 3)[:2] == 0).any() and (controller.params["W_in"][14:] != 0).all()
    u = np.random.default_rng(0).uniform(-2, 2, (300, 3)).astype(np.float32)
    assert np.abs(controller.quantize().rollout(u) - controller.rollout(u)).max() < 2e-3


def test_what_a_timespan_may_be():
    with pytest.raises(InteropError, match="^timespan: 0; allowed: a number above 0, 1 where ncps was given none$"):
        from_ncps(made("default"), dt_s=DT, timespan=0)


ONE = "allowed: one CfC or CfCCell of ncps.torch, with nn.Linear before and after$"


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (lambda: CfC(3, 4, mode="pure"), "^mode: 'pure'; allowed: default, no_gate$"),
        (lambda: CfC(3, 4, mixed_memory=True), "^module: ncps' CfC with mixed_memory=True; allowed: False$"),
        (lambda: CfC(3, 4, activation="silu"), "^module: a backbone of SiLU; allowed: lecun_tanh, tanh, relu$"),
        (lambda: CfC(3, 4, activation="gelu"), "^module: a backbone of GELU; allowed: lecun_tanh, tanh, relu$"),
        (
            lambda: CfC(3, wirings.AutoNCP(16, 4)),
            "^wiring: 3 layers, each of which takes the new state of the one before it; allowed: a wiring of one "
            "layer, not NCP or AutoNCP$",
        ),
        (lambda: ncps.LTC(3, 4), f"^module: ncps' LTC; {ONE}"),
        (lambda: nn.ModuleList([CfC(3, 4), CfC(4, 4)]), f"^1: a second recurrent part; {ONE}"),
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.GRU(4, 4)), f"^1: nn.GRU; {ONE}"),
        (lambda: nn.Linear(3, 4), f"^module: Linear without a CfC; {ONE}"),
        (lambda: Policy(2.0), "^source: its outputs and ours differ by .*; allowed: 1e-05; its parts, at a timespan of "
         "1, give ours$"),
    ],
)  # fmt: skip
def test_what_a_module_may_not_be(module, text):
    torch.manual_seed(0)
    with pytest.raises(InteropError, match=text):
        from_ncps(module(), dt_s=DT)


def test_a_clip_of_inputs_is_noticed():
    torch.manual_seed(0)
    with pytest.raises(InteropError, match="^source: with inputs of up to [0-9]+ its outputs and ours differ by "):
        from_ncps(Clipped(), dt_s=DT)


class Clipped(nn.Module):
    def __init__(self):
        super().__init__()
        self.memory = CfC(3, 6, backbone_units=8)

    def forward(self, x):
        return self.memory(x.clamp(-10, 10))


def without(name, **more):
    weights = dict(made("default").state_dict()) | more
    return {key: values for key, values in weights.items() if key != name}


NAMED = {"mode": "default", "activation": "lecun_tanh"}
FIRST = "allowed: the weights of one CfC or CfCCell of ncps.torch$"


@pytest.mark.parametrize(
    ("weights", "options", "text"),
    [
        ({}, {}, f"^source: no ff1.weight among no weights; {FIRST}"),
        ({"ff1.bias": torch.zeros(3)}, {}, f"^source: no ff1.weight among ff1.bias; {FIRST}"),
        (without("rnn_cell.time_a.bias"), {}, f"^time_a.bias: missing; {FIRST}"),
        (without("", **{"rnn_cell.w": torch.zeros(3)}), {}, f"^w: no weight of a CfC; {FIRST}"),
        (without("", **{"rnn_cell.A": torch.zeros(3)}), {}, "^mode: 'pure'; allowed: default, no_gate$"),
        (without("", **{"lstm.input_map.weight": torch.zeros(3)}), {},
         r"^source: mixed_memory=True; allowed: the weights of a CfC alone, or the module in Python \(from_ncps\)$"),
        (without("", **{"head.weight": torch.zeros(3)}), {},
         r"^source: head.weight beside the CfC; allowed: the weights of a CfC alone, or the module in Python"),
        (without("", **{"rnn_cell.ff2.weight": torch.zeros(3, 4)}), {},
         r"^ff2: shapes \(3, 4\) and \(6,\); allowed: \(6, 10\), \(6,\)$"),
        (without("", **{"rnn_cell.ff2.weight": torch.zeros(6, 10, dtype=torch.float64)}), {},
         "^ff2: float64; allowed in float32: float16, bfloat16, float32$"),
        (without("", **{"rnn_cell.backbone.0.weight": torch.zeros(10, 6)}), {},
         r"^backbone.0: 6 columns; allowed: more than the 6 neurons$"),
        (without("", **{"fc.bias": torch.zeros(1)}), NAMED,
         "^fc.weight: missing; allowed: weight and bias, or neither$"),
        (without("", **{"rnn_cell.ff1.bias": torch.tensor(1.0)}), {}, r"^ff1's bias: shape \(\); allowed: one axis, "),
        (without("", **{"rnn_cell.ff1.bias": None}), {}, f"^ff1.bias: missing; {FIRST}"),
        (without("", **{"rnn_cell.backbone." + "9" * 5000 + ".bias": torch.zeros(1)}), {}, "^backbone.9.*: no weight"),
        (without(""), NAMED | {"output_activation": None}, "^output_activation: None; allowed: identity, tanh"),
        (without(""), {},
         "^mode: missing; allowed: default, no_gate, which weights do not tell; CfC's default is default$"),
        (without(""), {"mode": "no_gate"},
         "^activation: missing; allowed: lecun_tanh, tanh, relu, which weights do not tell; CfC's default is lecun_"),
        (without(""), {"mode": "pure"}, "^mode: 'pure'; allowed: default, no_gate$"),
        (without(""), {"mode": "default", "activation": "gelu"},
         "^activation: 'gelu'; allowed: lecun_tanh, tanh, relu$"),
        (without(""), NAMED | {"output_activation": "tanh"},
         "^output_activation: 'tanh'; allowed without fc: 'identity'$"),
        (made("no backbone").state_dict(), {"activation": "tanh", "mode": "default"},
         "^activation: 'tanh'; allowed: None, without a backbone$"),
    ],
)  # fmt: skip
def test_what_weights_may_not_be(weights, options, text):
    with pytest.raises(InteropError, match=text):
        from_ncps(weights, dt_s=DT, **options)


def test_from_torch_says_who_takes_cfcs():
    with pytest.raises(InteropError, match="^module: ncps' CfC; allowed: from_ncps, which takes CfCs$"):
        from_torch(made("default"), dt_s=DT)
    with pytest.raises(InteropError, match="^source: weights of a CfC; allowed: from_ncps, which takes those$"):
        from_torch(made("default").state_dict(), dt_s=DT)


def test_a_module_has_its_own_functions():
    for field, value in (("mode", "default"), ("activation", "tanh"), ("output_activation", "tanh")):
        with pytest.raises(
            InteropError, match=f"^{field}: '{value}'; allowed with a module, which has its own: nothing"
        ):
            from_ncps(made("default"), dt_s=DT, **{field: value})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_cell_equals_ncps_own(dtype):
    """float64 within 1e-12 over 1,000 steps."""
    module = made("3 layers").to(getattr(torch, dtype)).eval()
    controller = from_ncps(module, dt_s=DT, dtype=dtype)
    u = np.random.default_rng(2).uniform(-2, 2, (1000, 3)).astype(dtype)
    h = torch.zeros(1, 6, dtype=getattr(torch, dtype))
    with torch.no_grad():
        expected = module(torch.from_numpy(u)[None], h)[0][0].numpy()
    assert np.abs(controller.rollout(u) - expected).max() < (1e-5 if dtype == "float32" else 1e-12)


def test_the_command(tmp_path):
    module, path, out = made("no gate"), tmp_path / "cfc.pt", tmp_path / "cfc.npz"
    torch.save(module.state_dict(), path)
    command = ("import", path, "--dt", DT, "--mode", "no_gate", "--timespan", 0.5, "--out", out)
    one_line_error(neuroctl(*command, code=2), "activation: missing; allowed: lecun_tanh, tanh, relu, which weights do")
    done = neuroctl(*command, "--activation", "LeCun")
    assert "cfc: 3 inputs, 6 neurons, 6 outputs, backbone 10, dt_s 0.02, 298 parameters" in done.stdout
    assert "equal within 1e-05 to ncps' equations with these weights, as named: mode no_gate, activation" in done.stdout
    assert "lecun_tanh, timespan 0.5" in done.stdout
    assert (nc.load(out).theta == from_ncps(module, dt_s=DT, timespan=0.5).theta).all()
    refused = neuroctl("import", path, "--dt", DT, "--dense-activation", "tanh", "--out", out, code=2)
    one_line_error(refused, "--dense-activation: 'tanh'; allowed for a CfC's weights: nothing", "module")
    torch.save(nn.GRU(2, 3).state_dict(), path)
    refused = neuroctl("import", path, "--dt", DT, "--mode", "no_gate", "--out", out, code=2)
    one_line_error(refused, "mode: 'no_gate'; allowed for others than a CfC of ncps: nothing")
