"""ONNX files of torch's exporters become controllers that give the same outputs; all else is refused by name."""

import warnings

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import InteropError
from neuroctl.interop import from_onnx, to_onnx
from tests.commands import neuroctl, one_line_error
from tests.interop.cases import controller
from tests.interop.random_modules import Carried as RandomStep
from tests.interop.random_modules import module_of
from tests.interop.random_modules import outputs as random_outputs

torch = pytest.importorskip("torch", reason="writes the files")
onnx = pytest.importorskip("onnx", reason="reads the files")
pytest.importorskip("onnxruntime", reason="runs the files")
nn, DT = torch.nn, 0.02


class Sequence(nn.Module):
    """A whole sequence from zeros."""

    def __init__(self, recurrent):
        super().__init__()
        self.memory, self.head = recurrent, nn.Linear(recurrent.hidden_size, 2)

    def forward(self, x):
        return self.head(self.memory(x)[0])


class Carried(nn.Module):
    """A part of a sequence, with its state."""

    def __init__(self, recurrent):
        super().__init__()
        self.encoder, self.memory = nn.Linear(4, recurrent.input_size), recurrent
        self.head = nn.Linear(recurrent.hidden_size, 2)

    def forward(self, x, h):
        y, h = self.memory(torch.relu(self.encoder(x)), h)
        return torch.tanh(self.head(y)), h


class Step(nn.Module):
    """One step, as rsl_rl exports policies: obs, h_in -> actions, h_out."""

    def __init__(self, recurrent):
        super().__init__()
        self.memory = recurrent
        self.actor = nn.Sequential(nn.Linear(recurrent.hidden_size, 6), nn.ReLU(), nn.Linear(6, 2))

    def forward(self, x, h):
        y, h = self.memory(x.unsqueeze(0), h)
        return self.actor(y.squeeze(0)), h


class Learned(nn.Module):
    """A sequence from a trained state."""

    def __init__(self, recurrent):
        super().__init__()
        self.memory, self.start = recurrent, nn.Parameter(
            torch.rand(recurrent.num_layers, 1, recurrent.hidden_size) - 0.5
        )  # fmt: skip

    def forward(self, x):
        return self.memory(x, self.start.expand(-1, x.shape[1], -1).contiguous())[0]


class Encoded(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.memory, self.last = nn.Linear(4, 6), nn.GRU(6, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.last(self.memory(torch.relu(self.first(x)))[0])


TIME, BATCH = {"obs": {0: "time", 1: "batch"}}, {"obs": {0: "batch", 1: "time"}}
ZEROS = torch.zeros
CASES = {
    "sequence": (lambda: Sequence(nn.GRU(4, 5)), (ZEROS(7, 1, 4),), TIME),
    "batch first": (lambda: Sequence(nn.RNN(4, 5, batch_first=True)), (ZEROS(2, 9, 4),), {"obs": {1: "time"}}),
    "of 50 steps": (lambda: Sequence(nn.RNN(4, 5, nonlinearity="relu")), (ZEROS(50, 1, 4),), {}),
    "no batch": (lambda: Sequence(nn.GRU(4, 5)), (ZEROS(9, 4),), {"obs": {0: "time"}}),
    "carried": (lambda: Carried(nn.GRU(3, 5, batch_first=True)), (ZEROS(1, 1, 4), ZEROS(1, 1, 5)), BATCH),
    "step": (lambda: Step(nn.GRU(4, 5)), (ZEROS(1, 4), ZEROS(1, 1, 5)), {}),
    "learned": (lambda: Learned(nn.GRU(4, 5)), (ZEROS(7, 1, 4),), TIME),
    "sequence of 2 layers": (lambda: Sequence(nn.GRU(4, 5, 2)), (ZEROS(7, 1, 4),), TIME),
    "batch first of 3 layers": (lambda: Sequence(nn.RNN(4, 5, 3, batch_first=True)), (ZEROS(2, 9, 4),), BATCH),
    "carried of 3 layers": (
        lambda: Carried(nn.RNN(3, 5, 3, nonlinearity="relu", batch_first=True)), (ZEROS(1, 1, 4), ZEROS(3, 1, 5)), BATCH
    ),
    "step of 2 layers": (lambda: Step(nn.GRU(4, 5, 2)), (ZEROS(1, 4), ZEROS(2, 1, 5)), {}),
    "learned of 2 layers": (lambda: Learned(nn.GRU(4, 5, 2)), (ZEROS(7, 1, 4),), TIME),
}  # fmt: skip


def exported(path, module, arguments, axes=None, **options):
    names = {"input_names": ["obs", "h_in"][: len(arguments)], "output_names": ["actions", "h_out"][: len(arguments)]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), arguments, path, dynamic_axes=axes or {}, dynamo=False, **names, **options)
    return path


def outputs(module, kind, u):
    """Return what torch makes of inputs ``[T, 4]``, from a reset."""
    with torch.no_grad():
        x = torch.from_numpy(u)
        layers = module.memory.num_layers if hasattr(module, "memory") else 1
        start, kind = ZEROS(layers, 1, 5), kind.partition(" of ")[0]
        if kind == "step":
            h, rows = start, []
            for row in x:
                y, h = module(row[None], h)
                rows.append(y[0])
            return torch.stack(rows).numpy()
        if kind == "no batch":
            return module(x).numpy()
        x = x[None] if kind in ("batch first", "carried") else x[:, None]
        y = module(x, start)[0] if kind == "carried" else module(x)
        return y.reshape(len(u), -1).numpy()


@pytest.mark.parametrize("kind", CASES)
def test_what_torch_exports_is_equal_over_1000_steps(tmp_path, kind):
    torch.manual_seed(0)
    make, arguments, axes = CASES[kind]
    module = make()
    ctl = from_onnx(exported(tmp_path / "a.onnx", module, arguments, axes), dt_s=DT)
    u = np.random.default_rng(1).standard_normal((1000, 4)).astype(np.float32)
    np.testing.assert_allclose(ctl.rollout(u), outputs(module, kind, u), atol=1e-5)
    assert ctl.spec.initial_state == ("learned" if kind.startswith("learned") else "zeros")
    assert ctl.spec.layers == module.memory.num_layers


class Normalized(nn.Module):
    """A policy behind the mean and deviation of its observations, as rsl_rl and others export it."""

    def __init__(self, inner, scale=None):
        super().__init__()
        self.inner, self.scale = inner, scale
        self.mean, self.deviation = nn.Buffer(torch.randn(4)), nn.Buffer(torch.rand(4) + 0.2)

    def forward(self, x):
        y = self.inner((x - self.mean) / (self.deviation + 1e-2))
        return y if self.scale is None else y * self.scale + 0.5


@pytest.mark.parametrize("encoder", [False, True])
@pytest.mark.parametrize("scale", [None, 3.0])
def test_a_normalizer_becomes_part_of_the_first_layer(tmp_path, encoder, scale):
    torch.manual_seed(0)
    inner = Encoded() if encoder else Sequence(nn.GRU(4, 5))
    module = Normalized(inner, scale)
    ctl = from_onnx(exported(tmp_path / "a.onnx", module, (ZEROS(7, 1, 4),), TIME), dt_s=DT)
    assert ctl.spec.encoder == ((6,) if encoder else ())
    u = np.random.default_rng(1).standard_normal((1000, 4)).astype(np.float32)
    np.testing.assert_allclose(ctl.rollout(u), outputs(module, "sequence", u), atol=2e-5)


@pytest.mark.parametrize("seed", range(20))
def test_20_random_modules_as_files_are_equal_over_1000_steps(tmp_path, seed):
    """Files of steps, with the state of all layers as input and output, as rsl_rl writes them."""
    _, parts, _ = module_of(seed)
    before, recurrent, after = parts
    width = before[0].in_features if len(before) else recurrent.input_size
    arguments = ZEROS(1, width), ZEROS(recurrent.num_layers, 1, recurrent.hidden_size)
    ctl = from_onnx(exported(tmp_path / "a.onnx", RandomStep(before, recurrent, after), arguments), dt_s=DT)
    u = np.random.default_rng(seed).standard_normal((1000, width)).astype(np.float32)
    np.testing.assert_allclose(ctl.rollout(u), random_outputs(parts, u), atol=1e-5)
    assert ctl.spec.layers == recurrent.num_layers


@pytest.mark.parametrize("kind", ["step", "step of 2 layers"])
def test_what_torchs_other_exporter_writes_is_equal(tmp_path, kind):
    pytest.importorskip("onnxscript", reason="torch's exporter by torch.export needs it")
    torch.manual_seed(0)
    module = CASES[kind][0]().eval()
    torch.onnx.export(
        module, CASES[kind][1], tmp_path / "a.onnx", dynamo=True, external_data=False, verbose=False,
        input_names=["obs", "h_in"], output_names=["actions", "h_out"],
    )  # fmt: skip
    u = np.random.default_rng(1).standard_normal((1000, 4)).astype(np.float32)
    try:
        ctl = from_onnx(tmp_path / "a.onnx", dt_s=DT)
    except InteropError as error:  # what some versions of onnxscript write
        assert "which torch's GRU is not" in str(error)
    else:
        np.testing.assert_allclose(ctl.rollout(u), outputs(module, kind, u), atol=1e-5)


def beside(path, edit=None):
    """Write a file whose weights are in ``a.data`` beside it, and return its module."""
    torch.manual_seed(0)
    make, arguments, axes = CASES["step"]
    module = make()
    exported(path, module, arguments, axes)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="a.data", size_threshold=0)
    if edit is not None:
        model = onnx.load(path, load_external_data=False)
        edit(model.graph.initializer[0])
        path.write_bytes(model.SerializeToString())
    return module


def entry(key, value):
    def edit(tensor):
        kept = [(each.key, each.value) for each in tensor.external_data if each.key != key]
        del tensor.external_data[:]
        for name, text in [*kept, (key, value)]:
            tensor.external_data.add(key=name, value=text)

    return edit


def test_weights_in_a_file_beside_it_are_read(tmp_path):
    """As torch's exporter writes them, if it is not told otherwise."""
    module = beside(tmp_path / "a.onnx")
    u = np.random.default_rng(1).standard_normal((1000, 4)).astype(np.float32)
    np.testing.assert_allclose(
        from_onnx(tmp_path / "a.onnx", dt_s=DT).rollout(u), outputs(module, "step", u), atol=1e-5
    )
    (tmp_path / "a.data").unlink()
    with pytest.raises(InteropError, match=r"no data in 'a.data' beside a.onnx; allowed: .*external_data=False\)$"):
        from_onnx(tmp_path / "a.onnx", dt_s=DT)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("location", "../a.data", "no data in '../a.data'"),
        ("location", "link.data", "no data in 'link.data'"),
        ("location", "..", "no data in '..'"),
        ("offset", str(1 << 60), "bytes from 1152921504606846976 on in a.data"),
        ("offset", "-4", "bytes from -4 on in a.data"),
        ("length", "4", ": 4 bytes from"),
        ("length", "many", "an ONNX file$"),
    ],
)
def test_weights_elsewhere_are_refused(tmp_path, key, value, text):
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "a.data").write_bytes(b"0" * 4096)
    beside(folder / "a.onnx", entry(key, value))
    (folder / "link.data").symlink_to(tmp_path / "a.data")
    with pytest.raises(InteropError, match=text):
        from_onnx(folder / "a.onnx", dt_s=DT)


@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize(
    "name", ["ctrnn-scaled", "gru-dense", "gru-learned", "jordan-limits", "indrnn-deep", "gru-2-learned"]
)
def test_what_to_onnx_writes_comes_back(tmp_path, name, sequence):
    ctl = controller(name)
    to_onnx(ctl, tmp_path / "a.onnx", sequence=sequence)
    again = from_onnx(tmp_path / "a.onnx")
    assert again.spec == ctl.spec and again.theta.tobytes() == ctl.theta.tobytes()


def test_weights_that_were_changed_elsewhere_are_noticed(tmp_path):
    """The parameters stand in the metadata, too."""
    to_onnx(controller("gru"), tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name.startswith("W_out"))
    values = onnx.numpy_helper.to_array(tensor) + np.float32(0.5)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(InteropError, match=r"^source: its outputs and ours differ by .*; allowed: 1e-05$"):
        from_onnx(tmp_path / "a.onnx")


def test_the_command_line_imports_a_file(tmp_path):
    torch.manual_seed(0)
    make, arguments, axes = CASES["carried"]
    exported(tmp_path / "policy.onnx", make(), arguments, axes)
    done = neuroctl("import", tmp_path / "policy.onnx", "--dt", DT, "--out", tmp_path / "policy.npz")
    assert "equal within 1e-05 to ONNX Runtime over 3 random sequences of 1,000 steps" in done.stdout
    assert nc.load(tmp_path / "policy.npz").spec.encoder == (3,)
    names = ("--input-names", "pole angle [rad], speed,a,b", "--output-names", "left,right")
    neuroctl("import", tmp_path / "policy.onnx", "--dt", DT, "--out", tmp_path / "named.npz", *names)
    named = nc.load(tmp_path / "named.npz")
    assert (named.spec.input_names[:2], named.spec.output_names) == (("pole angle [rad]", "speed"), ("left", "right"))
    assert named.meta == {"imported_from": "policy.onnx"}
    done = neuroctl(
        "import", tmp_path / "policy.onnx", "--dt", DT, "--out", tmp_path / "x.npz", *names[:1], "a", code=2
    )
    one_line_error(done, "--input-names: 1 names; allowed: exactly 4, or none")


def attribute(name, value):
    def edit(model):
        node = next(node for node in model.graph.node if node.op_type == "GRU")
        kept = [each for each in node.attribute if each.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, *([] if value is None else [onnx.helper.make_attribute(name, value)])])

    return edit


def half(model):
    tensor = next(tensor for tensor in model.graph.initializer if tensor.dims[0] == 1)
    values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def elsewhere(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def made_of_constants(kind, *values, **attributes):
    """The bias of a layer comes out of an operator of constants."""

    def edit(model):
        names = [f"given.{k}" for k in range(len(values))]
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(np.asarray(value), name) for value, name in zip(values, names, strict=True)
        )
        model.graph.node.insert(0, onnx.helper.make_node(kind, names, ["made"], **attributes))

    return edit


def operator(kind):
    def edit(model):
        node = next(node for node in model.graph.node if node.op_type == "Relu")
        node.op_type = kind

    return edit


EDITS = {
    "reset": (attribute("linear_before_reset", 0), "linear_before_reset 0, which torch's GRU is not: some versions"),
    "clip": (attribute("clip", 1.0), "clip 1; allowed: none"),
    "activations": (attribute("activations", ["Sigmoid", "Relu"]), "activations Sigmoid, Relu; allowed: Sigmoid, Tanh"),
    "half": (half, ""),
    "elsewhere": (elsewhere, "no data in '/etc/passwd' beside a.onnx; allowed: all in a file in the same folder, or"),
    "what grows": (
        made_of_constants("NonZero", np.ones(3, np.float32)),
        "NonZero: of constants alone; allowed: Identity",
    ),
    "32 GiB": (
        made_of_constants("ConstantOfShape", np.array([1 << 33])),
        ": 8589934592 numbers; allowed: up to 67108864",
    ),
    "tiles": (
        made_of_constants("Tile", np.ones((9, 9), np.float32), np.array([1 << 20, 1 << 20])),
        "; allowed: up to 67108864",
    ),
    "operator": (
        operator("Elu"),
        "(Elu); allowed: GRUs or RNNs, one behind the other, with MatMul, Gemm, Add, Sub, Mul",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_is_refused(tmp_path, name):
    torch.manual_seed(0)
    make, arguments, axes = CASES["carried"]
    path, (edit, text) = exported(tmp_path / "a.onnx", make(), arguments, axes), EDITS[name]
    model = onnx.load(path)
    edit(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InteropError) as raised:
        from_onnx(path, dt_s=DT)
    assert text in str(raised.value) and "\n" not in str(raised.value)


class Mixed(nn.Module):
    """Layers of two kinds."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.GRU(4, 5), nn.RNN(5, 5)

    def forward(self, x):
        return self.second(self.first(x)[0])[0]


MODULES = {
    "lstm": (lambda: nn.LSTM(4, 5), "recurrent operators: LSTM; allowed: GRUs or RNNs, one behind the other, with "),
    "both ways": (lambda: nn.GRU(4, 5, bidirectional=True), "direction bidirectional; allowed: forward"),
    "mixed": (lambda: Mixed(), "recurrent operators: GRU, RNN; allowed: GRUs or RNNs, one behind the other, with "),
    "none": (lambda: nn.Linear(4, 5), "recurrent operators: none among "),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_that_are_refused(tmp_path, name):
    make, text = MODULES[name]
    with pytest.raises(InteropError) as raised:
        from_onnx(exported(tmp_path / "a.onnx", make(), (ZEROS(7, 1, 4),), TIME), dt_s=DT)
    assert text in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [None, b"", b"not an ONNX file", b"\x08\x07" * 50])
def test_files_that_are_no_models(tmp_path, content):
    if content is not None:
        (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(InteropError, match="^source: .*allowed: an ONNX file$"):
        from_onnx(tmp_path / "a.onnx", dt_s=DT)


def test_a_time_step_is_needed(tmp_path):
    make, arguments, axes = CASES["step"]
    with pytest.raises(InteropError, match="^dt_s: None; allowed: seconds between two steps"):
        from_onnx(exported(tmp_path / "a.onnx", make(), arguments, axes))


def own(tmp_path, **facts):
    """Write a controller, and change or add metadata."""
    path = tmp_path / "own.onnx"
    spec = nc.Spec(cell="gru", inputs=2, neurons=3, outputs=1, dt_s=DT, initial_state="learned")
    to_onnx(nc.Controller(spec, seed=0), path)
    model = onnx.load(path)
    for fact in model.metadata_props:
        fact.value = facts.get(fact.key.removeprefix("neuroctl."), fact.value)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("given", [{"dt_s": 0.5}, {"input_limits": ((-1, 1),) * 2}, {"dtype": "float64"}])
def test_what_contradicts_a_file_of_ours_is_refused(tmp_path, given):
    (field,) = given
    with pytest.raises(InteropError, match=f"^{field}: .*; allowed: .*, as to_onnx wrote it$"):
        from_onnx(own(tmp_path), **given)


@pytest.mark.parametrize("facts", [
    {"initial_state": "zz"}, {"initial_state": "[" * 100_000}, {"initial_state": "[1, 2]"},
    {"initial_state": '{"a": 1}'}, {"spec": "[" * 100_000}, {"spec": '{"a\\n": 1}'}, {"manifest": "[1]"},
])  # fmt: skip
def test_damaged_metadata_is_refused_in_one_line(tmp_path, facts):
    with pytest.raises(InteropError, match="^(source|initial state): .*; allowed") as raised:
        from_onnx(own(tmp_path, **facts))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("place", "shape"), [(1, ()), (1, (0, 9, 2)), (1, (9, 2)), (2, (9,)), (3, (18,))])
def test_weights_of_odd_axes_are_refused(tmp_path, place, shape):
    make, arguments, axes = CASES["carried"]
    path = exported(tmp_path / "a.onnx", make(), arguments, axes)
    model = onnx.load(path)
    node = next(node for node in model.graph.node if node.op_type == "GRU")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), "odd"))
    node.input[place] = "odd"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InteropError, match="odd of shape .*; allowed: [23] axes, the first of 1$"):
        from_onnx(path, dt_s=DT)


def test_a_file_without_outputs_is_refused(tmp_path):
    path = own(tmp_path)
    model = onnx.load(path)
    del model.graph.output[:]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InteropError, match="^source: own.onnx: no output; allowed: an observation and outputs$"):
        from_onnx(path)
