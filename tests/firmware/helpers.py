"""Controllers to export, and a C program that runs several of them in one translation unit."""

import shutil
import subprocess

import numpy as np
import pytest

import neuroctl as nc
from firmware_export.emit import cell_c

CC = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
CXX = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
needs_cc = pytest.mark.skipif(CC is None, reason="no C compiler (cc, gcc or clang) on PATH: generated C was NOT tested")
needs_cxx = pytest.mark.skipif(CXX is None, reason="no C++ compiler on PATH: generated C was NOT tested as C++")

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Wcast-qual", "-Werror"]
STRICT_C = ["-std=c99", *STRICT, "-Wstrict-prototypes", "-Wmissing-prototypes"]
STRICT_CXX = ["-std=c++17", *STRICT]
SANITIZE = ["-fsanitize=undefined,address", "-fno-sanitize-recover=all", "-g"]
"""With -O0 a compiler takes a seventh of the time; optimized code is what ``test_compilers`` and ``verify`` run."""


CELLS = {
    "ctrnn": {},
    "indrnn": {"layers": 2, "residual": True},
    "indrnn tanh": {"activation": "tanh", "horizon": 100},
    "indrnn hard_tanh": {"activation": "hard_tanh", "layers": 3, "initial_state": "learned"},
    "elman": {},
    "elman relu": {"activation": "relu"},
    "elman logistic": {"activation": "logistic", "output_activation": "tanh", "initial_state": "learned"},
    "jordan": {"context_decay": 0.9},
    "jordan relu": {"activation": "relu", "output_activation": "logistic", "initial_state": "learned"},
    "elman 3 layers": {"layers": 3},
    "elman relu 2 layers": {"layers": 2, "activation": "relu", "initial_state": "learned"},
    "gru": {},
    "gru 2 layers": {"layers": 2, "initial_state": "learned"},
    "gru 3 layers dense": {"layers": 3, "encoder": (6,), "head": (4,)},
    "cfc": {"initial_state": "learned"},
    "cfc backbone": {"backbone": (6,)},
    "cfc relu": {"backbone": (6, 5), "activation": "relu", "mode": "no_gate"},
    "cfc dense": {"encoder": (5,), "head": (4,), "mode": "no_gate", "initial_state": "learned"},
    "ctrnn learned": {"initial_state": "learned"},
    "gru learned": {"initial_state": "learned"},
    "gru dense": {"encoder": (6, 5), "head": (4, 7)},
    "ctrnn encoder": {"encoder": (5,), "dense_activation": "tanh"},
    "jordan head": {"head": (5,), "dense_activation": "logistic", "initial_state": "learned"},
    "hopfield": {"settle_steps": 20},
    "hopfield synchronous": {"update": "synchronous", "settle_steps": 20, "clamp": False},
}
"""Every cell, and the options that make other C."""

UNEQUAL = {
    "input_limits": ((-1000.0, 1000.0), (-0.01, 0.01), (-2.0, 2.0)),
    "output_limits": ((-500.0, 500.0), (-0.02, 0.02)),
}
"""Limits of 3 inputs and 2 outputs that differ so much that each has its own format."""

MIXED_BITS = {
    "ctrnn": {"W": 4, "W_in": 3, "W_out": 2},
    "indrnn": {"W_in.0": 2, "W_in.1": 4, "W_out": 8},
    "elman": {"U": 3, "W_in": 16, "W_out": 4},
    "jordan": {"U": 2, "W_in": 8, "W_out": 3},
    "gru": {"U": 4, "W_in": 2, "W_out": 3},
    "cfc": {"U": 4, "W_in": 3, "W_out": 2, "W_ff": 3, "W_time": 8},
    "hopfield": 3,
}
"""Weights of each cell whose blocks differ in their bits; W_in.1 is of the second layer."""


def mixed_bits(cell):
    """Bits of a row of ``CELLS``: those of its cell that its options leave."""
    kind, layers = cell.split()[0], CELLS[cell].get("layers", 1)
    bits = MIXED_BITS[kind]
    if layers > 1 and kind != "indrnn":  # each layer has blocks of its own, whose bits differ too
        return {"U.0": 4, "U.1": 8, "W_in.0": 16, "W_in.1": 3, f"W_in.{layers - 1}": 2, "W_out": 3}
    if not isinstance(bits, dict):
        return bits
    missing = () if CELLS[cell].get("layers", 1) > 1 else ("W_in.1",)
    missing += () if CELLS[cell].get("backbone") else ("W_ff", "W_time")
    return {block: count for block, count in bits.items() if block not in missing}


FILES = [
    "ctl.h",
    "ctl.json",
    "ctl.npz",
    "ctl_README.md",
    "ctl_example.c",
    "ctl_link.h",
    "ctl_link_example.c",
    "ctl_tunable.h",
]
FILES += ["nc_link.c", "nc_link.h"]
"""What the package ``header`` is made of."""


def controller(
    neurons=8, inputs=2, outputs=1, seed=3, weight_bits=16, readout="affine", calibrated=False, cell="ctrnn",
    state_bits=32, dt_s=0.02, **fields,
):  # fmt: skip
    """A quantized controller with random parameters; ``cell`` may be a row of ``CELLS``."""
    fields = CELLS[cell] | fields
    kind = cell.split()[0]
    if kind == "hopfield":
        readout = readout.replace("affine", "last")
    limits = {"input_limits": ((-2.0, 2.0),) * inputs, "output_limits": ((-10.0, 10.0),) * outputs}
    spec = nc.Spec(
        cell=kind, inputs=inputs, neurons=neurons, outputs=outputs, dt_s=dt_s, readout=readout, **(limits | fields)
    )
    recorded = np.random.default_rng(seed).normal(0, 0.5, (300, inputs)) if calibrated else None
    return nc.Controller(spec, seed=seed).quantize(weight_bits=weight_bits, state_bits=state_bits, calibration=recorded)


def compiled(compiler, flags, source, folder, name="program"):
    """Compile text and return the program's path; a compiler's complaint fails the test."""
    path = folder / f"{name}{'.cpp' if '++' in compiler else '.c'}"
    path.write_text(source)
    done = subprocess.run([compiler, *flags, str(path), "-o", str(folder / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / name


def members(q):
    """The members of a controller's state in C."""
    return cell_c(q, "x").fields


def state_of(q):
    """The numbers of the integer controller's state that C keeps too, in C's order."""
    return np.concatenate([q.state[f.start : f.start + f.words] for f in members(q)])


def batch_source(headers, controllers):
    """A program that reads a count and raw inputs for each controller, and writes out and the state of each step."""
    lines = ["#include <stdio.h>", *(f'#include "{path}"' for path in headers)]
    lines.append("static void put(int32_t word) { fwrite(&word, sizeof word, 1, stdout); }")
    lines.append("int main(void) {")
    for name, q in zip((path.stem for path in headers), controllers, strict=True):
        big = name.upper()
        words = "".join(
            f"            for (i = 0; i < {f.words}; i++) put((int32_t)s.{f.name}{'[i]' if f.size else ''});\n"
            for f in members(q)
        )
        lines.append(f"""    {{
        static {name}_state_t s;
        {name}_in_t in[{big}_INPUTS];
        {name}_out_t out[{big}_OUTPUTS];
        int32_t count;
        int i;
        if ({name}_selftest() != 0) return 2;
        {name}_init(&s);
        if (fread(&count, sizeof count, 1, stdin) != 1) return 3;
        for (; count > 0; count--) {{
            if (fread(in, sizeof in, 1, stdin) != 1) return 4;
            {name}_step(&s, in, out);
            for (i = 0; i < {big}_OUTPUTS; i++) put(out[i]);
{words}        }}
    }}""")
    return "\n".join([*lines, "    return 0;", "}", ""])


def run_batch(program, controllers, inputs):
    """Run ``batch_source``'s program; returns outputs [T, q] and states [T, words] of each controller."""
    stdin = b"".join(np.int32(len(u)).tobytes() + u.astype("<i2").tobytes() for u in inputs)
    done = subprocess.run([str(program)], input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    results, at = [], 0
    for q, u in zip(controllers, inputs, strict=True):
        width = q.spec.outputs + sum(f.words for f in members(q))
        records = np.frombuffer(done.stdout, "<i4", len(u) * width, at).reshape(len(u), width)
        at += records.nbytes
        results.append((records[:, : q.spec.outputs], records[:, q.spec.outputs :]))
    assert at == len(done.stdout)
    return results


def extreme_inputs(width, count, seed):
    """Raw inputs that hold extremes and random numbers for a while."""
    rng = np.random.default_rng(seed)
    levels = np.where(rng.random((count, width)) < 0.5, rng.choice([-32768, 32767, 0], (count, width)), 1)
    random = rng.integers(-32768, 32768, (count, width))
    held = np.maximum.accumulate(np.where(rng.random(count) < 0.2, np.arange(count), 0))
    return np.where(levels == 1, random, levels)[held].astype(np.int32)
