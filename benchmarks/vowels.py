"""Japanese vowels: nine speakers told apart, by our networks and by torch's RNN and GRU of the same size.

    pip install aeon torch
    python benchmarks/vowels.py --seeds 0 1 2 3 4

M. Kudo, J. Toyama, M. Shimbo, "Multidimensional curve classification using passing-through regions", Pattern
Recognition Letters 20 (1999); as in the package aeon: 270 sequences to train on, 370 to test, 12 channels, 7 to 29
steps. All networks have as many neurons, batches of one size, and Adam with the same rate and number of epochs; the
loss counts at each step, and what answers is the mean of the steps' logits. Nothing is chosen by the test sequences:
ours keep the epoch of the lowest loss on what they train on, torch's the last. Accuracy on the test: mean, lowest and
highest of the seeds.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Iterator
from time import process_time

import numpy as np

import neuroctl as nc
from neuroctl import train

CLASSES, BATCH, RATE = 9, 30, 0.005
CELLS = {
    "IndRNN, 2 layers": {"cell": "indrnn", "layers": 2, "horizon": 30},
    "CTRNN": {"cell": "ctrnn"},
    "Elman": {"cell": "elman"},
}
Data = tuple[np.ndarray, np.ndarray, np.ndarray]


def load() -> tuple[Data, Data]:
    """Return inputs ``[T, B, 12]``, classes ``[B]`` and mask ``[T, B]``, to train on and to test."""
    from aeon.datasets import load_japanese_vowels

    parts = {}
    for split in ("train", "test"):
        rows, names = load_japanese_vowels(split=split)
        longest = max(row.shape[1] for row in rows)
        u, mask = np.zeros((longest, len(rows), 12), np.float32), np.zeros((longest, len(rows)), np.float32)
        for k, row in enumerate(rows):
            u[: row.shape[1], k], mask[: row.shape[1], k] = row.T, 1
        parts[split] = u, np.unique(names, return_inverse=True)[1], mask
    counted = parts["train"][0][parts["train"][2] > 0]
    mean, std = counted.mean(axis=0), counted.std(axis=0)
    for u, _, mask in parts.values():
        u[:] = (u - mean) / std * mask[:, :, None]
    return parts["train"], parts["test"]


def accuracy(logits: np.ndarray, data: Data) -> float:
    """Return the share that is right, in percent, of logits ``[T, B, 9]``."""
    return 100 * float(((logits * data[2][:, :, None]).sum(axis=0).argmax(axis=1) == data[1]).mean())


def ours(options: dict, neurons: int, epochs: int, seed: int, data: Data, test: Data) -> float:
    u, classes, mask = data
    spec = nc.Spec(inputs=12, neurons=neurons, outputs=CLASSES, dt_s=1.0, **options)
    fit = train.fit(
        spec, u, np.repeat(classes[None], len(u), axis=0), loss="cross_entropy", mask=mask, learning_rate=RATE,
        epochs=epochs, batch=BATCH, validation=0, seed=seed,
    )  # fmt: skip
    return accuracy(train.Gradient(spec).outputs(fit.controller.theta, test[0]), test)


def batches(count: int, seed: int, epochs: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        yield from np.array_split(rng.permutation(count), count // BATCH)


def torch_network(kind: str, neurons: int, epochs: int, seed: int, data: Data, test: Data) -> float:
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    layer = getattr(torch.nn, kind)(12, neurons)
    readout = torch.nn.Linear(neurons, CLASSES)
    adam = torch.optim.Adam([*layer.parameters(), *readout.parameters()], RATE)
    u, mask = torch.from_numpy(data[0]), torch.from_numpy(data[2])
    classes = torch.from_numpy(data[1]).repeat(len(u), 1)
    for lanes in batches(u.shape[1], seed, epochs):
        logits = readout(layer(u[:, lanes])[0])
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), classes[:, lanes].flatten(), reduction="none")
        loss = (losses * mask[:, lanes].flatten()).sum() / mask[:, lanes].sum()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*layer.parameters(), *readout.parameters()], 1.0)
        adam.step()
    with torch.no_grad():
        return accuracy(readout(layer(torch.from_numpy(test[0]))[0]).numpy(), test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--neurons", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=60)
    o = parser.parse_args()
    data, test = load()
    forms: dict[str, Callable[[int], float]] = {
        name: lambda seed, options=options: ours(options, o.neurons, o.epochs, seed, data, test)
        for name, options in CELLS.items()
    }
    if importlib.util.find_spec("torch"):
        for kind in ("RNN", "GRU"):
            forms[f"torch {kind}"] = lambda seed, kind=kind: torch_network(kind, o.neurons, o.epochs, seed, data, test)
    print(f"{'':18}{'mean':>8}{'lowest':>8}{'highest':>8}{'CPU s':>8}")
    for name, form in forms.items():
        began = process_time()
        found = [form(seed) for seed in o.seeds]
        taken = (process_time() - began) / len(found)
        print(f"{name:18}{np.mean(found):>8.1f}{min(found):>8.1f}{max(found):>8.1f}{taken:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
