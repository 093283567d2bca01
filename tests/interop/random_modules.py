"""Random torch networks: an RNN or GRU of 1 to 3 layers, between as many linear layers as it happens."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="these are its networks")
nn = torch.nn
FUNCTIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "logistic": nn.Sigmoid}


class Carried(nn.Module):
    """A step with its state, ``[layers, 1, n]``, as rsl_rl exports policies."""

    def __init__(self, before, recurrent, after):
        super().__init__()
        self.before, self.recurrent, self.after = before, recurrent, after

    def forward(self, x, h):
        y, h = self.recurrent(self.before(x).unsqueeze(0), h)
        return self.after(y.squeeze(0)), h


def module_of(seed):
    """Return a network, its parts (before, recurrent, after), and the options that tell its weights' functions."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    inputs, neurons, outputs, layers = (int(rng.integers(1, most)) for most in (7, 13, 4, 4))
    kind, name = seed % 3, list(FUNCTIONS)[int(rng.integers(3))]

    def dense(count, width):
        parts = []
        for _ in range(count):
            size = int(rng.integers(1, 9))
            parts += [nn.Linear(width, size), FUNCTIONS[name]()]
            width = size
        return parts, width

    encoder, width = dense(int(rng.integers(0, 3)), inputs)
    activation = [None, "tanh", "relu"][kind]
    if activation is None:
        recurrent = nn.GRU(width, neurons, layers)
    else:
        recurrent = nn.RNN(width, neurons, layers, nonlinearity=activation)
    head, width = dense(int(rng.integers(0, 3)), neurons)
    head.append(nn.Linear(width, outputs))
    dense_activation = name if encoder or len(head) > 1 else None
    parts = nn.Sequential(*encoder), recurrent, nn.Sequential(*head)
    module = nn.Sequential(*encoder, recurrent, *head)
    return module, parts, {"activation": activation, "dense_activation": dense_activation}


def outputs(parts, u):
    """Return what torch makes of inputs ``[T, m]`` in float64, from zeros."""
    before, recurrent, after = (part.double() for part in parts)
    with torch.no_grad():
        y = after(recurrent(before(torch.from_numpy(u).double())[:, None])[0])[:, 0].numpy()
    for part in parts:
        part.float()
    return y
