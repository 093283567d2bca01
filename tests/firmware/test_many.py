"""Random controllers of all cells on every target: ``NEUROCTL_SPECS`` of them (``nox -s specs``), fewer by default."""

import dataclasses
import os

import numpy as np
import pytest

import firmware_export
import neuroctl as nc
from firmware_export.proof.harness import device_under_test
from firmware_export.proof.run import toolchains
from firmware_export.targets import TARGETS
from firmware_export.verifying import verify_devices
from neuroctl.quant import WEIGHT_BITS, integer_form
from neuroctl.spec import CELL_NAMES

ASKED = int(os.environ.get("NEUROCTL_SPECS", "0"))
TOOLCHAINS = {
    f"{target.name}: {toolchain.tools}": toolchain for target in TARGETS.values() for toolchain in toolchains(target)
}
BATCH, STEPS = 20, 200
TIGHT = (163,)  # needs nearly all of an AVR's registers
DEFAULT = {"host: gcc": 200, "avr: gcc, simavr": 6}  # others take 20 each, another slice each


def limits(rng, count):
    """Ranges of very different magnitudes side by side, which have formats of their own."""
    low, width = rng.uniform(-50, 49, count), rng.uniform(0.01, 100, count)
    unit = np.choose((low % 1 * 4).astype(int), [1.0, 1e-3, 1.0, 1e3])
    return tuple((float(u * a), float(u * (a + b))) for u, a, b in zip(unit, low, width, strict=True))


def random_spec(rng):
    """Any spec that fixed point has a form of."""
    cell = str(rng.choice(CELL_NAMES))
    inputs, neurons, outputs = (int(rng.integers(1, most)) for most in (9, 14, 6))
    spec = nc.Spec(cell=cell, inputs=inputs if cell != "hopfield" else 1, neurons=neurons, outputs=1, dt_s=0.01)
    options = {
        "ctrnn": {"integrator": str(rng.choice(["euler", "etd1"]))},
        "indrnn": {
            "activation": str(rng.choice(["relu", "tanh", "hard_tanh"])),
            "layers": int(rng.integers(1, 4)),
            "residual": bool(rng.integers(2)),
            "horizon": int(rng.integers(1, 50)),
        },
        "elman": {"activation": str(rng.choice(["tanh", "logistic", "relu"]))},
        "jordan": {
            "activation": str(rng.choice(["tanh", "logistic", "relu"])),
            "context_decay": float(rng.uniform(0, 0.95)),
        },
        "gru": {},
        "cfc": {
            "mode": str(rng.choice(["default", "no_gate"])),
            "backbone": tuple(int(size) for size in rng.integers(1, 9, rng.integers(3))),
        },
        "hopfield": {
            "update": str(rng.choice(["asynchronous", "synchronous"])),
            "settle_steps": int(rng.integers(1, 20)),
            "clamp": bool(rng.integers(2)),
            "order_seed": int(rng.integers(9)),
        },
    }[cell]
    if cell == "hopfield":
        inputs, outputs = (int(rng.integers(1, neurons + 1)) for _ in range(2))
    elif rng.integers(3) == 0 and cell != "jordan":
        outputs, options["readout"] = neurons, "identity"
    elif rng.integers(2):
        options["output_activation"] = str(rng.choice(["identity", "tanh", "logistic", "relu"]))
    if cell != "hopfield" and rng.integers(3) == 0:
        options["encoder"] = tuple(rng.integers(1, 8, rng.integers(1, 3)).tolist())
        options["dense_activation"] = str(rng.choice(["relu", "tanh", "logistic"]))
        if options.get("readout") != "identity":
            options["head"] = tuple(rng.integers(1, 8, rng.integers(0, 3)).tolist())
    if rng.integers(2):
        options["output_limits"] = limits(rng, outputs)
    return dataclasses.replace(
        spec, inputs=inputs, outputs=outputs, dt_s=round(float(10 ** rng.uniform(-4, -1)), 6),
        input_limits=limits(rng, inputs), **options
    )  # fmt: skip


def random_controller(seed):
    """A quantized controller; weights, gains and time constants over orders of magnitude."""
    rng = np.random.default_rng(seed)
    while True:
        spec = random_spec(rng)
        ctl = nc.Controller(spec, seed=seed)
        for block in ctl.params.values():
            if block.ndim == 2:
                block *= float(10 ** rng.uniform(-1.5, 0.7))
        if spec.cell == "ctrnn":
            ctl.params["tau_s"][:] = spec.dt_s * 10 ** rng.uniform(0.1, rng.uniform(1, 6), spec.neurons)
            ctl.params["gain"][:] = rng.choice([1.0, rng.uniform(-3, 3)])
        try:
            return integer_form(spec, ctl.theta, int(rng.choice(WEIGHT_BITS)), int(rng.choice([16, 32])))
        except nc.ExportError:
            continue  # too wide for 32 bits


def seeds_of(name):
    """The seeds that a toolchain gets: all that are asked for, or its share."""
    if ASKED:
        return range(ASKED if "simavr" not in name else min(ASKED, 200))
    count = DEFAULT.get(name, BATCH)
    start = 0 if count == 200 else BATCH * (list(TOOLCHAINS).index(name) % 10)
    return [*range(start, start + count), *TIGHT] if "simavr" in name else range(start, start + count)


@pytest.mark.parametrize("name", TOOLCHAINS)
def test_random_controllers_agree(name, tmp_path):
    toolchain = TOOLCHAINS[name]
    if toolchain.missing:
        pytest.skip(f"{toolchain.missing}: generated C was NOT run on {name}")
    seeds = seeds_of(name)
    size = 1 if "simavr" in name else BATCH
    specs = set()
    for start in range(0, len(seeds), size):
        batch = []
        for seed in seeds[start : start + size]:
            q = random_controller(seed)
            specs.add(q.spec)
            header = firmware_export.export(q, tmp_path / f"c{seed}", name=f"c{seed}")
            batch.append(device_under_test(f"c{seed}", header, q))
        for entry, report in zip(batch, verify_devices(batch, toolchain, STEPS, start), strict=True):
            assert report.ok, f"seed {entry.name[1:]}, {entry.q.spec}: {report.result}"
    assert len(specs) == len(seeds), "the specs are distinct"
