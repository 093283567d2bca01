"""Networks of torch become controllers that give the same outputs; what cannot be taken over is named."""

import os
import pickle
import re
import sys

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import BackendUnavailable, FileFormatError, InteropError, LayoutError
from neuroctl.interop import from_torch, to_onnx, to_torch
from neuroctl.train import value_and_grad
from tests.commands import neuroctl, one_line_error
from tests.interop.cases import OPTIONS, controller, inputs
from tests.interop.random_modules import module_of
from tests.interop.random_modules import outputs as random_outputs

torch = pytest.importorskip("torch", reason="its networks are what is imported")
nn = torch.nn
DT = 0.02
ALLOWED = "allowed: one nn.RNN, nn.GRU, nn.RNNCell or nn.GRUCell, with nn.Linear before and after"


class Policy(nn.Module):
    """A recurrent part and a head, as policies are written."""

    def __init__(self, recurrent, outputs=2, squash=None):
        super().__init__()
        self.memory, self.head, self.squash = recurrent, nn.Linear(recurrent.hidden_size, outputs), squash

    def forward(self, x):
        y, h = self.memory(x)
        y = self.head(y)
        return (y if self.squash is None else self.squash(y)), h


def around(recurrent, m, n, function=nn.ReLU):
    """Return a recurrent part between dense ones."""
    before, after = (nn.Linear(m, 6), function(), nn.Linear(6, m), function()), (nn.Linear(n, 4), function())
    return nn.Sequential(*before, recurrent, *after, nn.Linear(4, 1))


RANDOM = {
    "gru-dense": lambda m, n: around(nn.GRU(m, n), m, n),
    "rnn-dense": lambda m, n: around(nn.RNN(m, n, nonlinearity="relu"), m, n, nn.Tanh),
    "gru-embedded": lambda m, n: nn.Sequential(
        nn.Linear(m, 5), nn.Sigmoid(), nn.Linear(5, 4), nn.GRU(4, n), nn.Linear(n, 1), nn.ReLU()
    ),
    "rnn": lambda m, n: nn.RNN(m, n),
    "rnn-relu": lambda m, n: nn.RNN(m, n, nonlinearity="relu"),
    "rnn-first": lambda m, n: nn.RNN(m, n, batch_first=True, bias=False),
    "rnn-cell": lambda m, n: nn.RNNCell(m, n),
    "rnn-head": lambda m, n: Policy(nn.RNN(m, n, batch_first=True)),
    "gru": lambda m, n: nn.GRU(m, n),
    "gru-no-bias": lambda m, n: nn.GRU(m, n, bias=False),
    "gru-cell": lambda m, n: nn.GRUCell(m, n),
    "gru-head": lambda m, n: nn.Sequential(nn.GRU(m, n), nn.Linear(n, 3, bias=False), nn.Tanh()),
    "gru-policy": lambda m, n: Policy(nn.GRU(m, n, batch_first=True), squash=nn.Sigmoid()),
}


def outputs(module, u):
    """Return a module's outputs ``[T, q]`` in float32, one step after the other, with a carried state."""
    parts = list(module) if isinstance(module, nn.Sequential) else [module]
    state, rows = None, []
    with torch.no_grad():
        for row in torch.from_numpy(u):
            if isinstance(module, (nn.RNNCell, nn.GRUCell)):
                y = state = module(row, state)
            elif isinstance(module, Policy):
                y, state = module.memory(row[None], state)
                y = module.head(y) if module.squash is None else module.squash(module.head(y))
            else:
                y = row[None]
                for part in parts:
                    if isinstance(part, nn.RNNBase):
                        y, state = part(y, state)
                    else:
                        y = part(y)
            rows.append(y.reshape(-1).numpy().copy())
    return np.array(rows)


@pytest.mark.parametrize("seed", range(20))
def test_20_random_modules_are_equal_over_1000_steps(seed):
    module, parts, told = module_of(seed)
    ctl = from_torch(module, dt_s=DT)
    recurrent = parts[1]
    assert (ctl.spec.layers, ctl.spec.neurons) == (recurrent.num_layers, recurrent.hidden_size)
    u = np.random.default_rng(seed).standard_normal((1000, ctl.spec.inputs)).astype(np.float32)
    np.testing.assert_allclose(ctl.rollout(u), random_outputs(parts, u), atol=1e-5)
    assert from_torch(module.state_dict(), dt_s=DT, **told).theta.tobytes() == ctl.theta.tobytes()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", RANDOM)
def test_random_modules_are_equal_over_1000_steps(name, seed):
    torch.manual_seed(seed)
    module = RANDOM[name](3 + seed, 7 + 4 * seed)
    controller = from_torch(module, dt_s=DT)
    u = np.random.default_rng(seed).standard_normal((1000, 3 + seed)).astype(np.float32)
    np.testing.assert_allclose(controller.rollout(u), outputs(module, u), atol=1e-5)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize("name", ["rnn", "gru", "gru-cell", "gru-policy", "gru-dense"])
def test_weights_and_files_of_them_are_taken_as_well(tmp_path, name, suffix):
    if suffix == ".safetensors":
        save = pytest.importorskip("safetensors.torch", reason="writes the file").save_file
    else:
        save = torch.save
    torch.manual_seed(0)
    module = RANDOM[name](2, 5)
    weights = module.state_dict()
    save(weights, tmp_path / f"net{suffix}")
    options = {"rnn": {"activation": "tanh"}, "gru-dense": {"dense_activation": "relu"}}.get(name, {})
    by_name, by_file = (from_torch(source, dt_s=DT, **options)
                        for source in (weights, tmp_path / f"net{suffix}"))  # fmt: skip
    np.testing.assert_array_equal(by_file.theta, by_name.theta)
    if name != "gru-policy":  # a state dict does not hold the function behind the head
        np.testing.assert_array_equal(by_name.theta, from_torch(module, dt_s=DT).theta)


def test_a_file_whose_parts_fit_in_several_orders_is_refused(tmp_path):
    """A safetensors file has the names' order: what comes first is told by the sizes alone."""
    save = pytest.importorskip("safetensors.torch", reason="writes the file").save_file
    save(
        nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.GRU(3, 4), nn.Linear(4, 2)).state_dict(),
        tmp_path / "a.safetensors",
    )
    with pytest.raises(InteropError, match=r"^source: 0, 3 fit in 3 orders; allowed: weights in order: a .pt file, or"):
        from_torch(tmp_path / "a.safetensors", dt_s=DT, dense_activation="tanh")


def test_the_command_line_imports_a_file(tmp_path):
    torch.manual_seed(0)
    module = RANDOM["gru-policy"](2, 5)
    torch.save(module.state_dict(), tmp_path / "policy.pt")
    done = neuroctl("import", tmp_path / "policy.pt", "--dt", DT, "--output-activation", "logistic",
                    "--out", tmp_path / "policy.npz")  # fmt: skip
    assert "gru: 2 inputs, 5 neurons, 2 outputs" in done.stdout
    np.testing.assert_array_equal(nc.load(tmp_path / "policy.npz").theta, from_torch(module, dt_s=DT).theta)
    one_line_error(neuroctl("import", tmp_path / "no.pt", "--dt", DT, "--out", tmp_path / "x.npz", code=2))
    assert not (tmp_path / "x.npz").exists()


def test_limits_names_and_dtype_are_given_on_the_command_line(tmp_path):
    torch.save(nn.Sequential(nn.GRU(2, 4), nn.Linear(4, 1)).double().state_dict(), tmp_path / "wide.pt")
    command = ("import", tmp_path / "wide.pt", "--dt", DT, "--dtype", "float64", "--out", tmp_path / "w.npz")
    done = neuroctl(*command)
    assert "50 Hz" in done.stdout and "import --input-limits, or export --calibration" in done.stdout
    for use in (("export", tmp_path / "w.npz", "--out", tmp_path / "fw"), ("link", "sim", tmp_path / "w.npz")):
        one_line_error(
            neuroctl(*use, code=1), "calibration: missing", "`neuroctl import --input-limits` declares limits"
        )
    neuroctl(*command, "--input-limits", "-1000:1000,-0.01:0.01", "--output-limits", "-2:2")
    spec = nc.load(tmp_path / "w.npz").spec
    assert (spec.input_limits, spec.output_limits) == (((-1000.0, 1000.0), (-0.01, 0.01)), ((-2.0, 2.0),))
    assert spec.dtype == "float64" and nc.load(tmp_path / "w.npz").quantize().own_formats.inputs
    neuroctl(*command, "--input-limits", "-3:3")
    assert nc.load(tmp_path / "w.npz").spec.input_limits == ((-3.0, 3.0),) * 2
    for text, words in (
        ("1", "--input-limits: '1'; allowed: lowest and highest"),
        ("-1:1,-1:1,-1:1", "--input-limits"),
    ):
        one_line_error(neuroctl(*command, "--input-limits", text, code=2), words)


def test_the_message_says_what_was_compared_and_info_shows_it(tmp_path):
    torch.save(around(nn.GRU(2, 3), 2, 3).state_dict(), tmp_path / "p.pt")
    command = ("import", tmp_path / "p.pt", "--dt", DT, "--out", tmp_path / "p.npz")
    one_line_error(
        neuroctl(*command, code=2), "--dense-activation: missing; allowed: relu, tanh, logistic, for 3 linear"
    )
    done = neuroctl(*command, "--dense-activation", "nn.ReLU", "--output-activation", "Sigmoid")
    assert (
        "equal within 1e-05 to torch's own layers with these weights, as named: dense_activation relu, " in done.stdout
    )
    assert "output_activation logistic; over 3 random sequences of 1,000 steps" in done.stdout
    assert re.search(r"dense_activation +relu", neuroctl("info", tmp_path / "p.npz").stdout)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.pt", b"print('hello')\n", "x.pt: no file of torch.save; allowed: a file of weights alone"),
        ("net.py", b"", "allowed: a file that ends with .pt, .pth, .safetensors (torch, ncps), .onnx, .h5"),
        ("folder", None, "a folder; allowed: a file that ends with .pt"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, name, content, words):
    (tmp_path / name).mkdir() if content is None else (tmp_path / name).write_bytes(content)
    done = neuroctl("import", tmp_path / name, "--dt", DT, "--out", tmp_path / "x.npz", code=2)
    one_line_error(done, words)


def test_the_only_state_dict_of_a_checkpoint_is_taken():
    torch.manual_seed(0)
    module = nn.GRU(2, 3)
    optimizer = torch.optim.Adam(module.parameters())
    held = {"model_state_dict": module.state_dict(), "optimizer_state_dict": optimizer.state_dict(), "iter": 5}
    assert (from_torch(held, dt_s=DT).theta == from_torch(module, dt_s=DT).theta).all()
    with pytest.raises(InteropError, match="^source: 2 state dicts, model_state_dict, ema; allowed: a file, or a"):
        from_torch(held | {"ema": module.state_dict()}, dt_s=DT)


def test_integers_are_not_written_for_other_tools(tmp_path):
    spec = nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=DT, input_limits=((-1, 1),))
    q = nc.Controller(spec).quantize()
    for write in (to_torch, lambda controller: to_onnx(controller, tmp_path / "q.onnx")):
        with pytest.raises(
            InteropError, match="^controller: QuantController; allowed: a Controller, in floats: of a qu"
        ):
            write(q)


def test_weights_of_an_ltc_are_named():
    weights = {"rnn_cell.gleak": torch.ones(3), "rnn_cell.sensory_erev": torch.ones(2, 3)}
    with pytest.raises(InteropError, match="^source: weights of ncps' LTC; allowed: a CfC of ncps$"):
        from_torch(weights, dt_s=DT)


class Called(nn.Module):
    """Functions in ``forward``, and parts in another order than that of the call."""

    def __init__(self, head_first=False):
        super().__init__()
        if head_first:
            self.head = nn.Linear(3, 1)
        self.encoder, self.memory = nn.Linear(2, 5), nn.GRU(5, 3)
        if not head_first:
            self.head = nn.Linear(3, 1)

    def forward(self, x):
        return torch.tanh(self.head(self.memory(torch.relu(self.encoder(x)))[0]))


def test_functions_that_forward_calls_are_named_or_the_error_says_that_they_are_not_seen():
    torch.manual_seed(0)
    module = Called()
    with pytest.raises(InteropError, match="; functions that forward calls, such as torch.relu, are not seen"):
        from_torch(module, dt_s=DT)
    controller = from_torch(module, dt_s=DT, dense_activation="ReLU", output_activation="tanh")
    assert (controller.spec.encoder, controller.spec.output_activation) == ((5,), "tanh")
    u = np.random.default_rng(0).standard_normal((100, 2)).astype(np.float32)
    np.testing.assert_allclose(controller.rollout(u), module(torch.from_numpy(u)[:, None])[:, 0].detach(), atol=1e-5)
    with pytest.raises(InteropError, match=r"differ by .*; functions that forward calls"):
        from_torch(module, dt_s=DT, dense_activation="tanh", output_activation="tanh")
    with pytest.raises(InteropError, match="shape .*; parts are taken in the order in which the module declares"):
        from_torch(Called(head_first=True), dt_s=DT)
    with pytest.raises(InteropError, match="^dense_activation: 'relu'; allowed with a module that has nn.Tanh"):
        from_torch(nn.Sequential(nn.GRU(2, 3), nn.Linear(3, 1), nn.Tanh()), dt_s=DT, dense_activation="relu")


def test_an_imported_controller_is_saved_quantized_and_keeps_its_limits(tmp_path):
    torch.manual_seed(1)
    module = RANDOM["gru-head"](2, 6)
    controller = from_torch(module, dt_s=DT, input_limits=((-3, 3), (-3, 3)), output_limits=((-0.5, 0.5),) * 3)
    controller.save(tmp_path / "gru.npz")
    u = np.random.default_rng(0).uniform(-3, 3, (200, 2)).astype(np.float32)
    y = nc.load(tmp_path / "gru.npz").rollout(u)
    np.testing.assert_allclose(y, np.clip(outputs(module, u), -0.5, 0.5), atol=1e-5)
    fixed = controller.quantize()
    assert np.abs(fixed.rollout(u) - y).max() < 0.01


def test_float64_is_kept_in_float64_only():
    module = nn.GRU(2, 3).double()
    assert from_torch(module, dt_s=DT, dtype="float64").theta.dtype == np.float64
    with pytest.raises(InteropError, match="^weight_ih: float64; allowed in float32: float16, bfloat16, float32$"):
        from_torch(module, dt_s=DT)
    assert from_torch(module.half(), dt_s=DT).spec.cell == "gru"


class ResetBefore(Policy):
    """A GRU as some other libraries compute it, with torch's weights."""

    def forward(self, x):
        gru, n = self.memory, self.memory.hidden_size
        h, rows = torch.zeros(1, n, dtype=x.dtype), []
        for u in x:
            i = u @ gru.weight_ih_l0.T + gru.bias_ih_l0
            k = h @ gru.weight_hh_l0[: 2 * n].T + gru.bias_hh_l0[: 2 * n]
            r, z = torch.sigmoid(i[:, :n] + k[:, :n]), torch.sigmoid(i[:, n : 2 * n] + k[:, n:])
            c = torch.tanh(i[:, 2 * n :] + (r * h) @ gru.weight_hh_l0[2 * n :].T + gru.bias_hh_l0[2 * n :])
            h = c + z * (h - c)
            rows.append(h)
        return self.head(torch.stack(rows))


class Scaled(Policy):
    def forward(self, x):
        return 2 * self.head(self.memory(x)[0])


def test_a_source_that_computes_something_else_is_refused_with_the_reason():
    torch.manual_seed(0)
    form = r"with both biases, with the reset before the product \(linear_before_reset = 0\)$"
    with pytest.raises(
        InteropError, match=f"differ by .*; the source computes gates in the order r, z, candidate, {form}"
    ):
        from_torch(ResetBefore(nn.GRU(2, 4)), dt_s=DT)
    with pytest.raises(InteropError, match="differ by .*; no other order of gates, reset form or sum of biases"):
        from_torch(Scaled(nn.GRU(2, 4)), dt_s=DT)


def nan(module):
    with torch.no_grad():
        next(module.parameters())[0, 0] = float("nan")
    return module


REFUSED = {
    "lstm": (lambda: nn.LSTM(2, 3), f"module: nn.LSTM; {ALLOWED}"),
    "both ways": (
        lambda: nn.RNN(2, 3, bidirectional=True), "module: nn.RNN with bidirectional=True; allowed: bidirectional=False"
    ),
    "two": (lambda: nn.Sequential(nn.RNN(2, 3), nn.RNN(3, 3)), f"1: a second recurrent part; {ALLOWED}"),
    "none": (lambda: nn.Sequential(nn.Identity()), f"module: Sequential without a recurrent part; {ALLOWED}"),
    "functions": (
        lambda: nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.RNN(2, 3), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)),
        "functions of dense layers: tanh, relu; allowed: one for all but the last, of relu, tanh, logistic",
    ),
    "function": (
        lambda: nn.Sequential(nn.GRU(2, 3), nn.ReLU(), nn.Linear(3, 1)),
        f"1: nn.ReLU that follows no nn.Linear; {ALLOWED}",
    ),
    "elu": (lambda: nn.Sequential(nn.Linear(2, 2), nn.ELU(), nn.RNN(2, 3)), f"1: nn.ELU; {ALLOWED}"),
    "encoder": (
        lambda: nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.RNN(2, 3)), "weight_ih: shape (3, 2); allowed: (3, 5)"
    ),
    "embedding": (lambda: nn.Sequential(nn.Linear(2, 5), nn.RNN(2, 3)), "weight_ih: shape (3, 2); allowed: (3, 5)"),
    "state dense": (
        lambda: around(nn.GRU(2, 3), 2, 3).state_dict(),
        "dense_activation: missing; allowed: relu, tanh, logistic, for 3 linear parts besides the last",
    ),
    "no tensors": (
        lambda: {"weight_ih": [[1.0]], "weight_hh": [[1.0]]},
        "weight_hh: list; allowed in float32: float16, bfloat16, float32",
    ),
    "norm": (lambda: nn.Sequential(nn.RNN(2, 3), nn.LayerNorm(3)), f"1: nn.LayerNorm; {ALLOWED}"),
    "sizes": (lambda: nn.Sequential(nn.RNN(2, 3), nn.Linear(4, 1)), "readout: shape (1, 4); allowed: (1, 3)"),
    "state lstm": (lambda: nn.LSTM(2, 3).state_dict(), f"weight_hh: an LSTM; {ALLOWED}"),
    "state layers": (
        lambda: {k: w for k, w in nn.GRU(2, 3, 3).state_dict().items() if "_l1" not in k},
        "source: no weight_ih and weight_hh of layer 1 among weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, "
        f"weight_ih_l2, weight_hh_l2, bias_ih_l2, bias_hh_l2; {ALLOWED}",
    ),
    "state sizes": (
        lambda: nn.GRU(2, 3, 2).state_dict() | {"weight_ih_l1": torch.ones(9, 2)},
        "weight_ih_l1: shape (9, 2); allowed: (9, 3)",
    ),
    "state both ways": (
        lambda: nn.GRU(2, 3, bidirectional=True).state_dict(), f"weight_ih_l0_reverse: a second direction; {ALLOWED}"
    ),
    "state projection": (lambda: nn.LSTM(2, 3, proj_size=2).state_dict(), f"weight_hr_l0: a projection; {ALLOWED}"),
    "state rnn": (
        lambda: nn.RNN(2, 3).state_dict(), "activation: missing; allowed: tanh or relu, for an RNN's weights"
    ),
    "empty": ({}.copy, f"source: no weight_ih and weight_hh among no weights; {ALLOWED}"),
    "integers": (
        lambda: {"weight_ih": torch.ones(3, 2, dtype=torch.int8), "weight_hh": torch.ones(3, 1)},
        "weight_ih: int8; allowed in float32: float16, bfloat16, float32",
    ),
}  # fmt: skip


def weights(**changes):
    """Return a GRU's state dict with changes by name; None leaves one out."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    given = dict(nn.GRU(2, 3).state_dict()) | named
    return {name: value for name, value in given.items() if value is not None}


ODD = {
    "no axis": (lambda: weights(weight_hh_l0=torch.tensor(1.0)), "weight_hh: shape (); allowed: two axes, with"),
    "one axis": (lambda: weights(weight_ih_l0=torch.ones(9)), "weight_ih: shape (9,); allowed: two axes, with numbers"),
    "three axes": (
        lambda: weights(weight_hh_l0=torch.ones(9, 3, 3)), "weight_hh: shape (9, 3, 3); allowed: two axes, with numbers"
    ),
    "no neurons": (
        lambda: weights(weight_hh_l0=torch.ones(0, 0)), "weight_hh: shape (0, 0); allowed: two axes, with numbers"
    ),
    "no inputs": (
        lambda: weights(weight_ih_l0=torch.ones(9, 0)), "weight_ih: shape (9, 0); allowed: two axes, with numbers"
    ),
    "text": (
        lambda: weights(weight_ih_l0="x"), "weight_ih: str; allowed in float32: float16, bfloat16, float32"
    ),
    "one bias": (lambda: weights(bias_ih_l0=None), "bias_ih: missing; allowed: both biases, or none"),
    "a bias of no axis": (
        lambda: weights(bias_ih_l0=torch.tensor(1.0)), "bias_ih: shape (); allowed: one axis, with numbers"
    ),
    "a layer far behind": (
        lambda: weights(weight_ih_l30000000=torch.ones(9, 2)), "source: weight_ih_l30000000 beside the recurrent part; "
    ),
    "line ends": (
        lambda: weights(**{"a\nb\x1b[31m": torch.ones(1)}), r"source: a\nb\x1b[31m beside the recurrent part; allowed"
    ),
    "many": (
        lambda: weights(**{f"a{k}": torch.ones(1) for k in range(99)}), "a10, a11 and 87 more beside the recurrent part"
    ),
    "no numbers": (lambda: nn.GRU(2, 3, device="meta"), "weight_ih: Cannot copy out of meta tensor; no data!"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(2), nn.GRU(2, 3)), "0: Attempted to use an uninitialized parameter"),
    "no copy": (
        lambda: nn.Sequential(nn.GRU(2, 3), nn.utils.weight_norm(nn.Linear(3, 1))), "source: no copy of it, RuntimeErr"
    ),
    "last state alone": (lambda: Own(lambda y: y[-1]), "source: outputs float64 of shape (1, 3); allowed: real"),
    "complex": (lambda: Own(lambda y: y * 1j), "source: outputs complex128 of shape (1000, 1, 3); allowed: real"),
}  # fmt: skip


class Own(nn.Module):
    """A module whose call does something else with the outputs, or the inputs."""

    def __init__(self, after, before=lambda x: x):
        super().__init__()
        self.gru, self.after, self.before = nn.GRU(2, 3), after, before

    def forward(self, x):
        return self.after(self.gru(self.before(x))[0])


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning", "ignore:Lazy modules:UserWarning")
@pytest.mark.parametrize("name", ODD)
def test_odd_networks_are_refused_in_one_line(name):
    make, text = ODD[name]
    with pytest.raises(InteropError) as raised:
        from_torch(make(), dt_s=DT)
    assert text in str(raised.value) and "\n" not in str(raised.value) and len(str(raised.value)) < 500


class Thrice(nn.Sequential):
    """Parts in a row, whose own call gives three times what they do."""

    def forward(self, x):
        return 3 * self[1](self[0](x)[0])


def hooked():
    module = nn.Sequential(nn.GRU(2, 3), nn.Linear(3, 1))
    module.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    return module


@pytest.mark.parametrize("make", [lambda: Thrice(nn.GRU(2, 3), nn.Linear(3, 1)), hooked])
def test_what_a_sequential_does_besides_its_parts_is_refused(make):
    with pytest.raises(InteropError, match="^source: "):
        from_torch(make(), dt_s=DT)


@pytest.mark.parametrize("limit", [4.0, 10.0])
def test_a_clip_of_inputs_is_noticed(limit):
    """Normal numbers hardly reach what policies clip observations at."""
    torch.manual_seed(0)
    with pytest.raises(InteropError, match="^source: with inputs of up to [0-9]+ its outputs and ours differ by "):
        from_torch(Own(lambda y: y, lambda x: x.clamp(-limit, limit)), dt_s=DT)


@pytest.mark.parametrize("options", [
    {"output_activation": "tanh"}, {"output_activation": "elu"}, {"activation": 5}, {"dense_activation": []},
])  # fmt: skip
def test_options_that_a_state_dict_has_no_use_for(options):
    (field,) = options
    with pytest.raises(InteropError, match=f"^{field}: .*; allowed"):
        from_torch(weights(), dt_s=DT, **options)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    make, text = REFUSED[name]
    with pytest.raises(InteropError) as raised:
        from_torch(make(), dt_s=DT)
    assert str(raised.value) == text


def test_weights_that_are_no_numbers_are_refused():
    with pytest.raises(LayoutError, match=r"^theta: W_in\[0, 0\] is nan"):
        from_torch(nan(nn.GRU(2, 3)), dt_s=DT)


class Trap:
    def __reduce__(self):
        return os.mkdir, (os.environ["TRAP"],)


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_no_code_in_a_file_is_run(tmp_path, monkeypatch, how):
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    path = tmp_path / "net.pt"
    with path.open("wb") as file:
        (pickle.dump if how == "pickle" else torch.save)({"weight_ih_l0": Trap()}, file)
    with pytest.raises(
        InteropError, match=r"^source: net.pt: it holds more than weights; save module.state_dict\(\); "
    ):
        from_torch(path, dt_s=DT)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(("name", "content", "text"), [
    ("net.bin", b"", "allowed: a file that ends with .pt, .pth, .safetensors"),
    ("net.pt", None, "is no file; allowed: a file of weights"),
    ("net.pt", b"", "source: net.pt: no weights in it; allowed: a file of weights alone"),
    ("net.pt", b"not a file of weights", "source: net.pt: "),
    ("net.safetensors", b"\x00" * 4, "source: net.safetensors: "),
])  # fmt: skip
def test_files_that_are_no_weights(tmp_path, name, content, text):
    if name.endswith(".safetensors"):
        pytest.importorskip("safetensors", reason="reads the file")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InteropError) as raised:
        from_torch(tmp_path / name, dt_s=DT)
    assert text in str(raised.value) and "\n" not in str(raised.value)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "net.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(BackendUnavailable, match="safetensors"):
        from_torch(tmp_path / "net.safetensors", dt_s=DT)


def test_a_source_of_another_type():
    with pytest.raises(FileFormatError, match="path: int; allowed"):
        from_torch(3, dt_s=DT)


# --- Back to torch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_a_module_equals_its_controller_and_has_its_gradient(name):
    ctl, u = controller(name, "float64"), inputs(200).astype(np.float64)
    module = to_torch(ctl)
    y, state = module(torch.from_numpy(u[:150, None]))
    later, _ = module(torch.from_numpy(u[150:, None]), state)
    outputs = torch.cat([y, later])
    np.testing.assert_allclose(outputs[:, 0].detach().numpy(), ctl.rollout(u), atol=1e-12)
    outputs.square().mean().backward()
    _, gradient = value_and_grad(ctl.spec)(ctl.theta, u[:, None], np.zeros((200, 1, 2)))
    ours = np.concatenate([module.get_parameter(block.replace(".", "_")).grad.numpy().ravel() for block in ctl.params])
    np.testing.assert_allclose(gradient, ours, rtol=1e-6, atol=1e-9 * np.abs(ours).max())


def test_a_module_that_was_trained_becomes_a_controller_again():
    spec = nc.Spec(cell="ctrnn", inputs=3, neurons=3, outputs=2, dt_s=0.05, mask=((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    module = to_torch(nc.Controller(spec, seed=1))
    steps = torch.optim.SGD(module.parameters(), lr=0.01)
    u = torch.from_numpy(inputs(50)[:, None])
    for _ in range(3):
        steps.zero_grad()
        (module(u)[0] - 1).square().mean().backward()
        steps.step()
    trained = module.controller()
    assert not np.array_equal(trained.theta, nc.Controller(spec, seed=1).theta)
    assert not (trained.params["W"] - np.diag(np.diag(trained.params["W"]))).any()
    np.testing.assert_allclose(trained.rollout(inputs(50)), module(u)[0][:, 0].detach().numpy(), atol=1e-6)
    with pytest.raises(InteropError, match="^cell: hopfield; allowed: "):
        to_torch(nc.Controller(nc.Spec(cell="hopfield", inputs=1, neurons=2, outputs=1, dt_s=0.01)))
