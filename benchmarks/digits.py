"""MNIST-1D: digits as 40 numbers in time, told apart by an IndRNN in floats and in integers.

    pip install mnist1d
    python benchmarks/digits.py --seeds 0 1 2 3 4 --bits 8 4
    python benchmarks/digits.py --export build/digits --seeds 0 --bits 8

S. Greydanus, D. Kobak, "Scaling down deep learning with MNIST-1D", ICML 2024: 4,000 digits to train on, 1,000 to test;
their GRU gets 91 %, a convolutional network 94 %. Here four layers of ReLU with residual connections see one number a
step, and answer after the last. Training takes 20 copies of each digit, moved, scaled, sheared and with noise, as the
data set's own generator does. A tenth of the digits decides which epoch is kept; the test digits decide nothing.

For each number of bits of the weights: the accuracy after quantizing the trained network, and after training on in
fixed point. Inputs and activations have 16 bits.
"""

from __future__ import annotations

import argparse
from time import process_time
from typing import Any

import numpy as np

import neuroctl as nc
from neuroctl import train
from neuroctl.cells import layout

STEPS, HELD_OUT, COPIES = 40, 400, 20
SHIFT, SCALE, SHEAR, NOISE = 3, 0.1, 0.3, 0.05
LATER_LAYERS = 0.3  # of the usual start, so that sums over four layers begin small
GENTLE, COARSE = {"learning_rate": 5e-4, "epochs": 6}, {"learning_rate": 2e-3, "epochs": 12}
"""Training in fixed point: 4 bits are so coarse that small steps rarely change a weight; the tenth held out chose."""
Digits = tuple[np.ndarray, np.ndarray]


def augmented(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = len(x)
    places = np.arange(STEPS) - rng.integers(-SHIFT, SHIFT + 1, count)[:, None]
    moved = np.take_along_axis(x, np.clip(places, 0, STEPS - 1), axis=1)
    scale, shear = 1 + SCALE * rng.uniform(-1, 1, (count, 1)), SHEAR * rng.uniform(-1, 1, (count, 1))
    return moved * scale + shear * np.linspace(-1, 1, STEPS) + NOISE * rng.standard_normal(x.shape)


def sequences(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return inputs ``[T, B, 1]``, classes ``[T, B]`` and the mask by which the last step alone counts."""
    mask = np.zeros((STEPS, len(x)), np.float32)
    mask[-1] = 1
    return np.ascontiguousarray(x.T[:, :, None], np.float32), np.repeat(y[None], STEPS, axis=0), mask


def accuracy(controller: Any, digits: Digits) -> float:
    """Return the share that is right, in percent; one digit after the other, each from a reset."""
    right = 0
    for x, y in zip(*digits, strict=True):
        controller.reset()
        right += int(controller.rollout(np.asarray(x[:, None], np.float32))[-1].argmax() == y)
    return 100 * right / len(digits[1])


def trained(start: nc.Controller, data: Digits, unseen: Digits, **settings: Any) -> train.Fit:
    u, classes, mask = sequences(*data)
    return train.fit(
        start, u, classes, loss="cross_entropy", mask=mask, optimizer=train.AdamW(decay=0.01), schedule="cosine",
        batch=100, validation=sequences(*unseen), **settings,
    )  # fmt: skip


def network(neurons: int, seed: int) -> nc.Controller:
    spec = nc.Spec(
        cell="indrnn", inputs=1, neurons=neurons, outputs=10, layers=4, residual=True, dt_s=1.0, horizon=STEPS,
        activation="relu",
    )  # fmt: skip
    theta = train.start(spec, seed).copy()
    p = layout(spec).views(theta)
    for layer in range(1, 4):
        p[f"W_in.{layer}"][:] *= LATER_LAYERS
    p["W_in.0"][:] *= LATER_LAYERS
    return nc.Controller(spec, theta)


def export(controller: nc.QuantController, folder: str) -> None:
    """Write the C, and print its flash and instructions a step on a Cortex-M4."""
    import firmware_export

    firmware_export.export(controller, folder, name="digits")
    for row in firmware_export.verify(folder, steps=STEPS, targets=["cortex-m4"]).targets:
        print(f"    {row.target}, {row.tools}: {row.result}; {row.footprint}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--bits", type=int, nargs="*", default=[8, 4], help="of the weights in fixed point")
    parser.add_argument("--neurons", type=int, default=64, help="of each layer")
    parser.add_argument("--epochs", type=int, default=25, help="in floats")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--export", metavar="DIR", help="write the first integer network's C there")
    o = parser.parse_args()
    from mnist1d.data import get_dataset_args, make_dataset

    d = make_dataset(get_dataset_args())
    test = d["x_test"], d["y_test"]
    print("test accuracy in percent, CPU seconds")
    for seed in o.seeds:
        order, rng = np.random.default_rng(seed).permutation(len(d["x"])), np.random.default_rng(1000 + seed)
        unseen = d["x"][order[:HELD_OUT]], d["y"][order[:HELD_OUT]]
        x, y = d["x"][order[HELD_OUT:]], d["y"][order[HELD_OUT:]]
        data = np.concatenate([augmented(x, rng) for _ in range(COPIES)]), np.tile(y, COPIES)
        own = {"seed": seed, "threads": o.threads}
        began = process_time()
        found = trained(network(o.neurons, seed), data, unseen, learning_rate=0.003, epochs=o.epochs, **own)
        print(f"seed {seed}: floats {accuracy(found.controller, test):.1f}, {process_time() - began:.0f} s", flush=True)
        for bits in o.bits:
            storage, began = train.FixedPointConfig(weight_bits=bits), process_time()
            after = train.quantize(found.controller, sequences(x, y)[0], fixed_point=storage)
            aware = trained(
                found.controller, data, unseen, **(GENTLE if bits >= 8 else COARSE), fixed_point=storage, **own
            )
            figures = f"quantized {accuracy(after, test):.1f}, trained so {accuracy(aware.quantized, test):.1f}"
            print(f"  {bits} bits: {figures}, {process_time() - began:.0f} s", flush=True)
            if o.export and (seed, bits) == (o.seeds[0], o.bits[0]):
                export(aware.quantized, o.export)


if __name__ == "__main__":
    main()
