"""Writes ``tests/data/figures.json``: what controllers gave when it was written, which no later version may change.

    python tests/make_figures.py

adds cases that the file lacks, and writes its float outputs anew. That is allowed where a commit means to change how
floats round, and its body says so. Integers are never written anew: where an integer output, a CRC or a header differs
from the file the script stops, and nothing is written. A header that has to change, as for a mended fault in C, is
removed from the file by hand first, in a commit whose body says why.
"""

import hashlib
import json
import sys
import warnings
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np

import neuroctl as nc
from firmware_export.emit import sources
from firmware_export.packages import PACKAGES
from firmware_export.targets import target_of

FILE = Path(__file__).parent / "data" / "figures.json"
SHIPPED = Path(__file__).parent.parent / "sims" / "controllers"
EARLIER = FILE.parent / "earlier"
"""Controllers that came with earlier versions: their cases are named ``earlier/NAME``."""
STEPS = 10_000
SHOWN = slice(0, 100, 10)
"""Steps whose float outputs are stored as numbers: they are compared where another processor rounds otherwise."""
RANDOM = {
    "ctrnn": {},
    "ctrnn, heun": {"integrator": "heun"},
    "ctrnn, rk4": {"integrator": "rk4"},
    "indrnn": {},
    "indrnn, 2 layers": {"layers": 2},
    "elman": {},
    "jordan": {},
    "hopfield": {},
    "gru": {},
    "elman, 2 layers": {"layers": 2},
    "gru, 2 layers": {"layers": 2},
    "ctrnn, learned start": {"initial_state": "learned"},
    "cfc": {},
    "cfc, backbone": {"backbone": (12, 6)},
    "cfc, relu, no_gate, learned start": {
        "backbone": (12,),
        "activation": "relu",
        "mode": "no_gate",
        "initial_state": "learned",
    },
    "gru, learned start": {"initial_state": "learned"},
}
SIZES = {"inputs": 3, "neurons": 8, "outputs": 2, "dt_s": 0.02}
LIMITS = {"input_limits": ((-1, 1),) * 3, "output_limits": ((-2, 2),) * 2}
FORMS = {"default": {}, "weight_bits=8": {"weight_bits": 8}, "state_bits=16": {"state_bits": 16}}
FORMS |= {f"weight_bits={bits}": {"weight_bits": bits} for bits in (4, 3, 2)}
STORED = {path.stem: path for path in SHIPPED.glob("*.npz")} | {
    f"earlier/{path.stem}": path for path in EARLIER.glob("*.npz")
}
NAMES = sorted(STORED) + list(RANDOM)


def machine():
    """What float bits depend on besides the source."""
    features = sorted(name for name, there in llvmlite.binding.get_host_cpu_features().items() if there)
    return f"{llvmlite.binding.get_host_cpu_name()} {digest(','.join(features).encode())}, numba {numba.__version__}"


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def figures_of(name):
    """Return the figures of one controller: hashes of all outputs, float outputs, CRCs and hashes of headers."""
    calibration = None
    if name in RANDOM:
        controller = nc.Controller(nc.Spec(cell=name.split(",")[0], **SIZES, **LIMITS, **RANDOM[name]), seed=7)
    else:
        controller = nc.load(STORED[name])
        calibration = nc.io.load_model(STORED[name]).calibration
    inputs = inputs_for(controller.spec)
    outputs = controller.rollout(inputs)
    shown = [[float(f"{value:.9g}") for value in row] for row in outputs[SHOWN]]  # as many digits as float32 needs
    figures = {"float": digest(outputs.tobytes()), "float outputs": shown}
    for form, options in FORMS.items():
        figures[form] = integer_figures(controller, inputs, options)
    if calibration is not None:
        figures["calibrated"] = integer_figures(controller, inputs, {"calibration": calibration})
    return figures


def inputs_for(spec):
    """Return ``[STEPS, inputs]``, drawn evenly from within the declared limits."""
    low, high = np.array(spec.input_limits or ((-1, 1),) * spec.inputs, float).T
    return (low + (high - low) * np.random.default_rng(5).uniform(0, 1, (STEPS, spec.inputs))).astype(spec.dtype)


def integer_figures(controller, inputs, options):
    """Return an integer form's hash of outputs, CRC and hash of its header, or why there is no such form."""
    try:
        q = controller.quantize(**options)
    except nc.errors.ExportError as error:
        return str(error)
    outputs = digest(q.rollout(inputs).tobytes())
    q.reset()
    header = sources(q, "ctl", target_of("generic"), PACKAGES["header"])["ctl.h"]
    return {"outputs": outputs, "crc32": f"{q.model_crc32:#010x}", "header": digest(header.encode())}


def integers(figures):
    """Return what may never change."""
    return {name: figure for name, figure in figures.items() if not name.startswith("float")}


def main():
    warnings.simplefilter("ignore", RuntimeWarning)  # random parameters may be too stiff for their time step
    stored = json.loads(FILE.read_text())["figures"] if FILE.exists() else {}
    figures = {name: figures_of(name) for name in NAMES}
    changed = [
        f"{name}: {form}: {figures.get(name, {}).get(form)}; the file has {figure}"
        for name, row in stored.items()
        for form, figure in integers(row).items()
        if figures.get(name, {}).get(form) != figure
    ]
    if changed:
        sys.exit("\n".join([*changed, "integers and headers never change: nothing is written"]))
    rows = [
        f"  {json.dumps(name)}: {{\n"
        + ",\n".join(f"   {json.dumps(form)}: {json.dumps(figure)}" for form, figure in row.items())
        + "\n  }"
        for name, row in figures.items()
    ]
    text = f'{{\n "machine": {json.dumps(machine())},\n "figures": {{\n' + ",\n".join(rows) + "\n }\n}\n"
    json.loads(text)
    FILE.write_text(text)


if __name__ == "__main__":
    main()
