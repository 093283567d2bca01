"""Controllers to export, and a C program that runs several of them in one translation unit."""

import shutil
import subprocess

import numpy as np
import pytest

import neuroctl as nc

CC = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
CXX = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
needs_cc = pytest.mark.skipif(CC is None, reason="no C compiler (cc, gcc or clang) on PATH: generated C was NOT tested")
needs_cxx = pytest.mark.skipif(CXX is None, reason="no C++ compiler on PATH: generated C was NOT tested as C++")

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Wcast-qual", "-Werror"]
STRICT_C = ["-std=c99", *STRICT, "-Wstrict-prototypes", "-Wmissing-prototypes"]
STRICT_CXX = ["-std=c++17", *STRICT]
SANITIZE = ["-fsanitize=undefined,address", "-fno-sanitize-recover=all", "-g"]


def controller(neurons=8, inputs=2, outputs=1, seed=3, weight_bits=16, readout="affine", calibrated=False, **fields):
    """A quantised controller with random parameters."""
    fields = {"input_limits": ((-2.0, 2.0),) * inputs, "output_limits": ((-10.0, 10.0),) * outputs} | fields
    spec = nc.Spec(cell="ctrnn", inputs=inputs, neurons=neurons, outputs=outputs, dt_s=0.02, readout=readout, **fields)
    recorded = np.random.default_rng(seed).normal(0, 0.5, (300, inputs)) if calibrated else None
    return nc.Controller(spec, seed=seed).quantize(weight_bits=weight_bits, calibration=recorded)


def compiled(compiler, flags, source, folder, name="program"):
    """Compile text and return the program's path; a compiler's complaint fails the test."""
    path = folder / f"{name}{'.cpp' if '++' in compiler else '.c'}"
    path.write_text(source)
    done = subprocess.run([compiler, *flags, str(path), "-o", str(folder / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / name


def batch_source(headers):
    """A program that reads a count and raw inputs for each controller, and writes out, y and s of each step."""
    lines = ["#include <stdio.h>", *(f'#include "{path}"' for path in headers), "int main(void) {"]
    for name in (path.stem for path in headers):
        big = name.upper()
        lines.append(f"""    {{
        static {name}_state_t s;
        {name}_in_t in[{big}_INPUTS];
        {name}_out_t out[{big}_OUTPUTS];
        int32_t count;
        if ({name}_selftest() != 0) return 2;
        {name}_init(&s);
        if (fread(&count, sizeof count, 1, stdin) != 1) return 3;
        for (; count > 0; count--) {{
            if (fread(in, sizeof in, 1, stdin) != 1) return 4;
            {name}_step(&s, in, out);
            fwrite(out, sizeof out, 1, stdout);
            fwrite(s.y, sizeof s.y, 1, stdout);
            fwrite(s.s, sizeof s.s, 1, stdout);
        }}
    }}""")
    return "\n".join([*lines, "    return 0;", "}", ""])


def run_batch(program, controllers, inputs):
    """Run ``batch_source``'s program; returns outputs [T, q] and states [T, 2 n] of each controller."""
    stdin = b"".join(np.int32(len(u)).tobytes() + u.astype("<i2").tobytes() for u in inputs)
    done = subprocess.run([str(program)], input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    results, at = [], 0
    for q, u in zip(controllers, inputs, strict=True):
        n, k = q.spec.neurons, q.spec.outputs
        step = np.dtype([("out", "<i2", k), ("y", "<i4", n), ("s", "<i2", n)])
        records = np.frombuffer(done.stdout, step, len(u), at)
        at += records.nbytes
        states = np.column_stack([records["y"].reshape(len(u), n), records["s"].reshape(len(u), n)])
        results.append((records["out"].reshape(len(u), k), states))
    assert at == len(done.stdout)
    return results


def extreme_inputs(width, count, seed):
    """Raw inputs that hold extremes and random numbers for a while."""
    rng = np.random.default_rng(seed)
    levels = np.where(rng.random((count, width)) < 0.5, rng.choice([-32768, 32767, 0], (count, width)), 1)
    random = rng.integers(-32768, 32768, (count, width))
    held = np.maximum.accumulate(np.where(rng.random(count) < 0.2, np.arange(count), 0))
    return np.where(levels == 1, random, levels)[held].astype(np.int32)
