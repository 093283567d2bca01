"""RLtools' checkpoints become controllers that give what the example in the file says; all else is refused by name."""

import numpy as np
import pytest

import neuroctl as nc
from neuroctl.errors import BackendUnavailable, InteropError
from neuroctl.interop import from_rltools
from tests.commands import neuroctl, one_line_error

h5py = pytest.importorskip("h5py", reason="writes the files")
RNG = np.random.default_rng(0)
FUNCTIONS = {"RELU": lambda x: np.maximum(x, 0), "TANH": np.tanh, "IDENTITY": lambda x: x}


def dense(group, rows, columns, function):
    w, b = 0.5 * RNG.standard_normal((rows, columns)), 0.3 * RNG.standard_normal((1, rows))
    group.attrs["type"], group.attrs["activation_function"] = "dense", function
    for name, values in (("weights", w), ("biases", b)):
        group.create_dataset(f"{name}/parameters", data=values.astype(np.float32))
    w, b = w.astype(np.float32).astype(float), b[0].astype(np.float32).astype(float)
    return lambda x: FUNCTIONS.get(function, np.tanh)(x @ w.T + b)


def gru(group, n, m, initial, after=True):
    group.attrs["type"] = "gru"
    p = {
        "weights_input": RNG.standard_normal((3 * n, m)), "weights_hidden": RNG.standard_normal((3 * n, n)),
        "biases_input": RNG.standard_normal(3 * n), "biases_hidden": RNG.standard_normal(3 * n),
        "initial_hidden_state": initial,
    }  # fmt: skip
    for name, values in p.items():
        p[name] = (0.4 * values).astype(np.float32) if name != "initial_hidden_state" else values.astype(np.float32)
        group.create_dataset(f"{name}/parameters", data=p[name])
    w, k, b, d, h0 = (values.astype(float) for values in p.values())

    def run(x):
        h, rows = np.tile(h0, (x.shape[1], 1)), []
        for u in x:
            i, s = u @ w.T + b, h @ k.T + d
            r, z = (1 / (1 + np.exp(-(i + s)[:, c * n : (c + 1) * n])) for c in (0, 1))
            recalled = r * s[:, 2 * n :] if after else (r * h) @ k[2 * n :].T + d[2 * n :]
            c = np.tanh(i[:, 2 * n :] + recalled)
            h = c + z * (h - c)
            rows.append(h)
        return np.array(rows)

    return run


def write(path, kind="plain", initial=None, after=True, function="RELU"):
    """Write a policy of 5 inputs and 2 outputs, and an example of 60 steps of 2 sequences."""
    with h5py.File(path, "w") as file:
        actor = file.create_group("actor")
        actor.attrs["type"] = "sequential"
        layers = actor.create_group("layers")
        parts = [dense(layers.create_group("0"), 6, 5, function)]
        initial = np.zeros(4) if initial is None else initial
        parts.append(gru(layers.create_group("1"), 4, 6, initial, after))
        if kind == "plain":
            parts.append(dense(layers.create_group("2"), 2, 4, "IDENTITY"))
        else:  # an MLP, then means and deviations, of which the means are taken
            mlp = layers.create_group("2")
            mlp.attrs["type"], mlp.attrs["num_layers"] = "mlp", 3
            parts += [dense(mlp.create_group("input_layer"), 5, 4, "RELU")]
            parts += [dense(mlp.create_group("hidden_layer_0"), 3, 5, "RELU")]
            parts += [dense(mlp.create_group("output_layer"), 4, 3, "IDENTITY")]
            layers.create_group("3").attrs["type"] = kind
            parts += [lambda x: np.tanh(x[..., :2])]
        u = RNG.standard_normal((60, 2, 5)).astype(np.float32)
        y = u.astype(float)
        for part in parts:
            y = part(y)
        file["example/input"], file["example/output"] = u, y.astype(np.float32)
    return u, y


@pytest.mark.parametrize("initial", [None, np.array([0.5, -0.9, 0.1, 1.0])])
@pytest.mark.parametrize("kind", ["plain", "sample_and_squash"])
def test_a_checkpoint_gives_its_example(tmp_path, kind, initial):
    u, y = write(tmp_path / "a.h5", kind, initial)
    ctl = from_rltools(tmp_path / "a.h5", dt_s=0.01)
    assert ctl.spec.encoder == (6,) and ctl.spec.head == (() if kind == "plain" else (5, 3))
    assert ctl.spec.initial_state == ("zeros" if initial is None else "learned")
    for k in range(2):
        ctl.reset()
        np.testing.assert_allclose(ctl.rollout(np.ascontiguousarray(u[:, k])), y[:, k], atol=1e-5)
    fixed = from_rltools(tmp_path / "a.h5", dt_s=0.01, input_limits=((-4, 4),) * 5).quantize()
    assert np.abs(fixed.rollout(u[:, 0]) - y[:, 0]).max() < 0.02


def test_the_command_line_imports_a_checkpoint(tmp_path):
    u, y = write(tmp_path / "policy.h5")
    done = neuroctl("import", tmp_path / "policy.h5", "--dt", 0.01, "--out", tmp_path / "policy.npz")
    assert "equal within 1e-05 to RLtools on the example in the file" in done.stdout
    np.testing.assert_allclose(
        nc.load(tmp_path / "policy.npz").rollout(np.ascontiguousarray(u[:, 0])), y[:, 0], atol=1e-5
    )
    options = ("--dt", 0.01, "--out", tmp_path / "x.npz", "--activation", "tanh")
    one_line_error(neuroctl("import", tmp_path / "policy.h5", *options, code=2))
    assert not (tmp_path / "x.npz").exists()


def test_an_example_of_another_reset_is_refused_with_the_reason(tmp_path):
    write(tmp_path / "a.h5", after=False)
    text = r"^example: its outputs and ours differ by .*; the source computes .*\(linear_before_reset = 0\)$"
    with pytest.raises(InteropError, match=text):
        from_rltools(tmp_path / "a.h5", dt_s=0.01)


def edited(path, edit):
    with h5py.File(path, "r+") as file:
        edit(file)


REFUSED = {
    "function": (
        lambda f: f["actor/layers/0"].attrs.modify("activation_function", "FAST_TANH"),
        "actor/layers/0: activation_function FAST_TANH; allowed: IDENTITY, RELU, TANH, SIGMOID",
    ),
    "layer": (
        lambda f: f["actor/layers/2"].attrs.modify("type", "lstm"),
        "actor/layers/2: lstm; allowed: dense, mlp, one gru, and sample_and_squash at the end",
    ),
    "no example": (lambda f: f.__delitem__("example"), "allowed: a checkpoint of RLtools"),
    "sizes": (
        lambda f: (f.__delitem__("example/input"), f.create_dataset("example/input", data=np.zeros((60, 2, 7)))),
        "example: shapes (60, 2, 7) and (60, 2, 2); allowed: 5 inputs and 2 outputs of the same steps, by the weights",
    ),
    "no sequence": (
        lambda f: [
            (f.__delitem__(f"example/{name}"), f.create_dataset(f"example/{name}", data=np.zeros((60, 0, size))))
            for name, size in (("input", 5), ("output", 2))
        ],
        "example: shape (60, 0, 5); allowed: one step of one sequence, or more",
    ),
    "initial state": (
        lambda f: (
            f.__delitem__("actor/layers/1/initial_hidden_state/parameters"),
            f.create_dataset("actor/layers/1/initial_hidden_state/parameters", data=np.zeros((1, 99), np.float32)),
        ),
        "initial state: shape (99,); allowed: (",
    ),
    "text": (
        lambda f: (
            f.__delitem__("actor/layers/0/weights/parameters"),
            f.create_dataset("actor/layers/0/weights/parameters", data="abc"),
        ),
        "",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path, name):
    edit, text = REFUSED[name]
    write(tmp_path / "a.h5")
    edited(tmp_path / "a.h5", edit)
    with pytest.raises(InteropError) as raised:
        from_rltools(tmp_path / "a.h5", dt_s=0.01)
    assert text in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [None, b"", b"not an HDF5 file"])
def test_files_that_are_no_checkpoints(tmp_path, content):
    if content is not None:
        (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(InteropError, match="^source: .*; allowed: an? (HDF5 )?checkpoint"):
        from_rltools(tmp_path / "a.h5", dt_s=0.01)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(BackendUnavailable, match="interop"):
        from_rltools(tmp_path / "a.h5", dt_s=0.01)
