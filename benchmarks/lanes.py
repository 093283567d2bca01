"""Lanes beside a loop over individuals, C, C++ vectors and JAX, and by numbers of lanes and threads, in one run.

    python benchmarks/lanes.py
    python benchmarks/lanes.py --json

Times are nanoseconds for one control step of one individual, the smallest of several runs that take turns; ratios
are medians of the ratios of neighboring runs. JAX runs ``vmap`` over individuals and ``scan`` over time, on one core.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import compiled
import numpy as np

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.backends.blocks import aligned, in_blocks
from neuroctl.cells import initial, layout
from sims.plants import double_pole, walker

warnings.simplefilter("ignore", nc.StabilityWarning)  # random networks, some too stiff for their time step
RUNS = 9
CELLS = ("ctrnn", "elman", "indrnn", "jordan")  # in lanes.cpp
CPU = get("cpu")
POLES = nc.Spec(cell="ctrnn", inputs=3, neurons=5, outputs=1, dt_s=0.02, output_limits=((-10.0, 10.0),))


def population(spec: nc.Spec, count: int) -> np.ndarray:
    return np.ascontiguousarray(np.stack([initial(spec, seed) for seed in range(count)], axis=1))


def take_turns(forms: dict[str, Callable[[], Any]], work: int) -> tuple[dict[str, float], np.ndarray]:
    """Return the smallest time of each form for a unit of work, in ns, and all times ``[runs, forms]``."""
    times = np.empty((RUNS, len(forms)))
    for call in forms.values():
        call()
    for run in range(RUNS):
        for column, call in enumerate(forms.values()):
            begin = perf_counter()
            call()
            times[run, column] = (perf_counter() - begin) / work * 1e9
    return dict(zip(forms, times.min(axis=0).tolist(), strict=True)), times


def against_scalar(neurons: int, lanes: int = 256, steps: int = 400) -> dict[str, float]:
    """Compare on recorded inputs: a loop over single controllers, and lanes, on one core."""
    spec = nc.Spec(cell="ctrnn", inputs=3, neurons=neurons, outputs=1, dt_s=0.02)
    theta, u = population(spec, lanes), np.random.default_rng(0).standard_normal((steps, 3)).astype(np.float32)
    singles = [nc.Controller(spec, theta[:, p]) for p in range(lanes)]

    def scalar() -> None:
        for ctl in singles:
            ctl.reset()
            ctl.rollout(u)

    forms = {"scalar_ns": scalar, "lanes_ns": lambda: CPU.rollout(spec, theta, u, threads=1)}
    with tempfile.TemporaryDirectory() as folder:
        forms["c_ns"] = in_c(compiled.built_c(folder), spec, theta, u)
        best, times = take_turns(forms, lanes * steps)
    ratios = {"ratio": times[:, 0] / times[:, 1], "c_ratio": times[:, 2] / times[:, 1]}
    return best | {name: float(np.median(values)) for name, values in ratios.items()}


def in_c(library: Any, spec: nc.Spec, theta: np.ndarray, u: np.ndarray) -> Callable[[], None]:
    """Return a loop over individuals in C, see compiled.py."""
    n, out = spec.neurons, np.empty((len(u), 1), np.float32)
    y, scratch, each = np.zeros(n, np.float32), np.zeros(3 * n, np.float32), np.ascontiguousarray(theta.T)
    sizes = [ctypes.c_long(value) for value in (len(u), n, u.shape[1], 1)]

    def run() -> None:
        for row in each:
            y[:] = 0
            arrays = [compiled.pointer(array) for array in (row, y, scratch, u, out)]
            library.ctrnn_rollout(*arrays, *sizes, ctypes.c_float(spec.dt_s))

    return run


def built_cpp(folder: str) -> ctypes.CDLL:
    """Build lanes.cpp; sums stay in their order, which associative-math would spoil in the logistic's rounding."""
    library = Path(folder) / "lanes.so"
    flags = ["-O3", "-march=native", "-ffast-math", "-fno-associative-math", "-shared", "-fPIC"]
    source = Path(__file__).with_name("lanes.cpp")
    subprocess.run(["c++", *flags, str(source), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def against_cpp(cell: str, neurons: int, lanes: int = 256, steps: int = 1000) -> dict[str, float]:
    """Compare on recorded inputs: lanes, and C++ with vector extensions for just this size, on one core."""
    spec = nc.Spec(cell=cell, inputs=3, neurons=neurons, outputs=1, dt_s=0.02)
    theta, u = population(spec, lanes), np.random.default_rng(0).standard_normal((steps, 3)).astype(np.float32)
    blocks, outputs = in_blocks(theta, 16), aligned((lanes // 16, steps, 16), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        rollout = getattr(built_cpp(folder), f"{cell}_{neurons}")

        def cpp() -> None:
            for block, out in zip(blocks, outputs, strict=True):
                arrays = [compiled.pointer(array) for array in (block, u, out)]
                rollout(*arrays, ctypes.c_long(steps), ctypes.c_float(spec.dt_s))

        ours = CPU.rollout(spec, theta, u, threads=1).outputs
        cpp()
        # Chaotic networks drift apart by rounding; the first steps show that both compute the same.
        np.testing.assert_allclose(ours[:20, 0], outputs.swapaxes(0, 1).reshape(steps, -1)[:20], rtol=3e-3, atol=3e-3)
        forms = {"lanes_ns": lambda: CPU.rollout(spec, theta, u, threads=1), "cpp_ns": cpp}
        best, times = take_turns(forms, lanes * steps)
    return best | {"ratio": float(np.median(times[:, 0] / times[:, 1]))}


def integers(neurons: int = 8, lanes: int = 256, steps: int = 220) -> dict[str, float]:
    """Compare the walker in floats and in fixed point, a controller of its own in each lane, on one core."""
    limits = {"input_limits": ((-2.5, 2.5),), "output_limits": ((0.0, 1.0),) * 3}
    spec = nc.Spec(cell="ctrnn", inputs=1, neurons=neurons, outputs=3, dt_s=0.1, **limits)
    theta = population(spec, lanes)
    quantized = [nc.Controller(spec, theta[:, p]).quantize() for p in range(lanes)]
    forms = {
        "fixed_ns": lambda: CPU.rollout_quantized(quantized, walker, steps, threads=1),
        "float_ns": lambda: CPU.rollout(spec, theta, walker, steps, threads=1),
    }
    best, times = take_turns(forms, lanes * steps)
    return best | {"ratio": float(np.median(times[:, 0] / times[:, 1]))}


def endless(folder: str) -> Path:
    """Write the double pole without its end, so that all forms do the same work."""
    text = Path(double_pole.__file__).read_text()
    path = Path(folder) / "endless_pole.py"
    path.write_text(text[: text.index("def done")] + text[text.index("def reward") :])
    return path


def jax_form(theta: np.ndarray, steps: int) -> Callable[[], Any] | None:
    """Return the double pole and its CTRNN in JAX, or None where JAX is not installed."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return None
    p = {name: jnp.asarray(np.moveaxis(view, -1, 0)) for name, view in layout(POLES).views(theta).items()}
    d = double_pole

    def slope(x: Any, force: Any) -> Any:
        s1, c1, s2, c2 = jnp.sin(x[2]), jnp.cos(x[2]), jnp.sin(x[4]), jnp.cos(x[4])
        (m1, m2), (l1, l2) = d.POLE_KG, d.HALF_LENGTH_M
        swing1 = d.POLE_FRICTION * x[3] / (m1 * l1) + d.GRAVITY * s1
        swing2 = d.POLE_FRICTION * x[5] / (m2 * l2) + d.GRAVITY * s2
        push = m1 * (l1 * x[3] ** 2 * s1 + 0.75 * c1 * swing1) + m2 * (l2 * x[5] ** 2 * s2 + 0.75 * c2 * swing2)
        mass = d.CART_KG + m1 * (1 - 0.75 * c1**2) + m2 * (1 - 0.75 * c2**2)
        xdd = (force - d.CART_FRICTION * jnp.sign(x[1]) + push) / mass
        turns = (-0.75 / l1 * (xdd * c1 + swing1), -0.75 / l2 * (xdd * c2 + swing2))
        return jnp.stack([x[1], xdd, x[3], turns[0], x[5], turns[1]])

    def one(q: Any) -> Any:
        def control(carry: Any, _: Any) -> Any:
            x, y, total = carry
            u = jnp.stack([x[0] / d.TRACK_M, x[2] / d.MAX_ANGLE, x[4] / d.MAX_ANGLE])
            s = jax.nn.sigmoid(q["gain"] * (y + q["bias"]))
            y = y + 0.02 / q["tau_s"] * (q["W"] @ s + q["W_in"] @ u - y)
            force = jnp.clip((q["W_out"] @ jax.nn.sigmoid(q["gain"] * (y + q["bias"])) + q["b_out"])[0], -10, 10)
            force = jnp.where(jnp.abs(force) < d.MIN_FORCE_N, jnp.sign(force) * d.MIN_FORCE_N, force)
            for _ in range(2):
                h = 0.01
                k1 = slope(x, force)
                k2 = slope(x + h / 2 * k1, force)
                k3 = slope(x + h / 2 * k2, force)
                k4 = slope(x + h * k3, force)
                x = x + h / 6 * (k1 + 2 * (k2 + k3) + k4)
            return (x, y, total + jnp.abs(x[:4]).sum()), None

        start = (jnp.array(d.START, jnp.float32), jnp.zeros(POLES.neurons), jnp.float32(0))
        return jax.lax.scan(control, start, None, length=steps)[0]

    program = jax.jit(jax.vmap(one))
    return lambda: jax.block_until_ready(program(p))


def against_jax(lanes: int = 1024, steps: int = 200) -> dict[str, float]:
    """Double pole with a CTRNN of 5 neurons, Runge-Kutta, no episode ends: JAX and lanes on one core."""
    theta = population(POLES, lanes)
    program = jax_form(theta, steps)
    with tempfile.TemporaryDirectory() as folder:
        plant = endless(folder)
        forms = {"lanes_ns": lambda: CPU.rollout(POLES, theta, plant, steps, threads=1)}
        if program is not None:
            forms["jax_ns"] = program
        best, times = take_turns(forms, lanes * steps)
    return best | ({"ratio": float(np.median(times[:, 1] / times[:, 0]))} if program is not None else {})


def by_threads(lanes: int = 4096, steps: int = 1000) -> dict[str, float]:
    """Double pole on one and on two threads."""
    theta = population(POLES, lanes)
    with tempfile.TemporaryDirectory() as folder:
        plant = endless(folder)
        forms = {f"threads_{n}_ns": lambda n=n: CPU.rollout(POLES, theta, plant, steps, threads=n) for n in (1, 2)}
        best, times = take_turns(forms, lanes * steps)
    return best | {"ratio": float(np.median(times[:, 0] / times[:, 1]))}


def by_lanes(steps: int = 200) -> dict[str, float]:
    """Double pole on one thread with ever more individuals."""
    with tempfile.TemporaryDirectory() as folder:
        plant = endless(folder)
        result = {}
        for lanes in (1, 16, 64, 256, 1024, 4096):
            theta = population(POLES, lanes)
            best, _ = take_turns({"ns": lambda t=theta: CPU.rollout(POLES, t, plant, steps, threads=1)}, lanes * steps)
            result[str(lanes)] = best["ns"]
    return result


def main() -> None:
    """Print the tables or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    results: dict[str, Any] = {f"ctrnn_{n}": against_scalar(n) for n in (4, 8, 16)}
    results["cpp"] = {f"{cell} {n}": against_cpp(cell, n) for cell in CELLS for n in (4, 8, 16, 32)}
    results["fixed_point"] = integers()
    results["lanes"] = by_lanes()
    if len(os.sched_getaffinity(0)) > 1:  # before JAX, whose own threads would take part
        results["threads"] = by_threads()
    results["double_pole"] = against_jax()
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    for n in (4, 8, 16):
        r = results[f"ctrnn_{n}"]
        times = f"scalar loop {r['scalar_ns']:6.1f} ns, lanes {r['lanes_ns']:5.1f} ns"
        print(f"CTRNN {n:>2}: {times}, {r['ratio']:.1f} times as fast; C, one by one, {r['c_ns']:.1f} ns")
    for name, r in results["cpp"].items():
        print(f"{name:>9}: lanes {r['lanes_ns']:5.1f} ns, C++ vectors {r['cpp_ns']:5.1f} ns, ratio {r['ratio']:.2f}")
    r = results["fixed_point"]
    print(f"walker, CTRNN 8: fixed point {r['fixed_ns']:.0f} ns, floats {r['float_ns']:.0f} ns, ratio {r['ratio']:.2f}")
    r = results["double_pole"]
    if "jax_ns" in r:
        times = f"JAX {r['jax_ns']:.0f} ns, lanes {r['lanes_ns']:.0f} ns"
        print(f"double pole, CTRNN 5: {times}, {r['ratio']:.1f} times as fast")
    else:
        print(f"double pole, CTRNN 5: lanes {r['lanes_ns']:.0f} ns")
        print("jax is not installed: its figure is missing", file=sys.stderr)
    print("by lanes: " + ", ".join(f"{lanes}: {ns:.0f} ns" for lanes, ns in results["lanes"].items()))
    if "threads" in results:
        r = results["threads"]
        print(f"2 threads: {r['threads_2_ns']:.0f} ns, {r['ratio']:.2f} times as fast as 1")


if __name__ == "__main__":
    main()
