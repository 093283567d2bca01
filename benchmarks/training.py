"""Loss and gradient through time, beside JAX and torch, on one core, in one run.

    python benchmarks/training.py                  # T=100 B=32 n=8, 32; T=1000 B=50 n=128; Elman, GRU 64, B=32, T=64
    python benchmarks/training.py --quick --json

All forms get the same numbers: inputs ``[T, B, 8]``, targets ``[T, B, 4]``, mean square error, float32; each returns
the loss and the gradient of all parameters. JAX is compiled with ``scan``, in two forms: all products in the scan, and
those that do not depend on the state taken out of it; the faster one counts. torch runs its loop over time, and of a
GRU its own fused operator. The forms take turns of several calls, as a training loop makes them; times are medians. The
share of the peak is of multiply-adds that the equations need, and of what a loop of nothing but multiply-adds reaches
here.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np  # noqa: E402

import neuroctl as nc  # noqa: E402
from neuroctl.backends.blocks import aligned  # noqa: E402
from neuroctl.cells import layout  # noqa: E402
from neuroctl.maths.jit import jit_step  # noqa: E402
from neuroctl.maths.packs import load, store  # noqa: E402

INPUTS, OUTPUTS, DT = 8, 4, 0.02
CELLS = {
    "elman": {"cell": "elman"},
    "gru": {"cell": "gru"},
    "ctrnn euler": {"cell": "ctrnn"},
    "ctrnn rk4": {"cell": "ctrnn", "integrator": "rk4"},
    "indrnn, 1 layer": {"cell": "indrnn"},
    "indrnn, 2 layers": {"cell": "indrnn", "layers": 2},
}
Call = Callable[[], Any]


@jit_step
def _multiply_add(x: Any, count: Any) -> None:
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = load(x, np.uint64(0))
    b, c = load(x, np.uint64(1)), load(x, np.uint64(2))
    for _ in range(count):
        a0, a1, a2, a3 = a0 * b + c, a1 * b + c, a2 * b + c, a3 * b + c
        a4, a5, a6, a7 = a4 * b + c, a5 * b + c, a6 * b + c, a7 * b + c
        c = c + b
    store(x, np.uint64(0), a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7)


def peak() -> float:
    """Return the floating-point operations a second of a loop of multiply-adds on one core."""
    x, count = aligned((3, 2, 16), np.float32), 200_000
    _multiply_add(x, 1)
    times = []
    for _ in range(20):
        start = perf_counter()
        _multiply_add(x, count)
        times.append(perf_counter() - start)
    return count * (8 * 2 + 1) * 32 / min(times)


def operations(spec: nc.Spec, steps: int, count: int) -> float:
    """Return the operations of the products that the gradient needs."""
    n, m, q = spec.neurons, spec.inputs, spec.outputs
    gates = 3 if spec.cell == "gru" else 1
    own = 4 * gates * n * m + 6 * n * q
    if spec.cell == "indrnn":
        own += (spec.layers - 1) * 6 * n * n
    else:
        own += 6 * gates * n * n * (4 if spec.integrator == "rk4" else 1)
    return float(own) * steps * count


def model(spec: nc.Spec, sigmoid: Any, tanh: Any, relu: Any, hoisted: bool) -> tuple[Any, Any]:
    """Return ``prepare(p, u)``, for all steps at once, and ``step(p, state, d)``, which returns state and features."""

    def active(p: Any, y: Any) -> Any:
        return sigmoid(p["gain"] * (y + p["bias"]))

    def driven(p: Any, d: Any) -> Any:
        return d if hoisted else d @ p["W_in"].T

    if spec.cell == "elman":

        def step(p: Any, h: Any, d: Any) -> Any:
            h = tanh(driven(p, d) + h @ p["U"].T + p["bias"])
            return h, h
    elif spec.cell == "gru":
        n = spec.neurons

        def step(p: Any, h: Any, d: Any) -> Any:
            d, kept = driven(p, d) + p["bias"], h @ p["U"].T
            r, z = sigmoid(d[:, :n] + kept[:, :n]), sigmoid(d[:, n : 2 * n] + kept[:, n : 2 * n])
            c = tanh(d[:, 2 * n :] + r * (kept[:, 2 * n :] + p["recurrent_bias"]))
            h = c + z * (h - c)
            return h, h
    elif spec.integrator == "rk4":

        def step(p: Any, y: Any, d: Any) -> Any:
            alpha, d = DT / p["tau_s"], driven(p, d)

            def slope(y: Any) -> Any:
                return alpha * (active(p, y) @ p["W"].T + d - y)

            k1 = slope(y)
            k2 = slope(y + 0.5 * k1)
            k3 = slope(y + 0.5 * k2)
            y = y + (k1 + 2 * k2 + 2 * k3 + slope(y + k3)) / 6
            return y, active(p, y)
    else:

        def step(p: Any, state: Any, d: Any) -> Any:
            y, s = state
            y = y + (DT / p["tau_s"]) * (s @ p["W"].T + driven(p, d) - y)
            s = active(p, y)
            return (y, s), s

    def prepare(p: Any, u: Any) -> Any:
        return u @ p["W_in"].T if hoisted else u

    return prepare, step


def jax_form(spec: nc.Spec, p: dict[str, np.ndarray], u: np.ndarray, y: np.ndarray, hoisted: bool) -> Call:
    """Return JAX's loss and gradient."""
    import jax
    import jax.numpy as jnp

    def loss(p: Any, u: Any, y: Any) -> Any:
        zeros = jnp.zeros((u.shape[1], spec.neurons), u.dtype)
        if spec.cell == "indrnn":
            x = u
            for k in range(spec.layers):

                def step(h: Any, d: Any, k: int = k) -> Any:
                    h = jax.nn.relu((d if hoisted else d @ p[f"W_in.{k}"].T + p[f"bias.{k}"]) + p[f"u.{k}"] * h)
                    return h, h

                d = x @ p[f"W_in.{k}"].T + p[f"bias.{k}"] if hoisted else x
                _, x = jax.lax.scan(step, zeros, d)
        else:
            prepare, step = model(spec, jax.nn.sigmoid, jnp.tanh, jax.nn.relu, hoisted)
            euler = spec.cell == "ctrnn" and spec.integrator == "euler"
            first = (zeros, jax.nn.sigmoid(p["gain"] * (zeros + p["bias"]))) if euler else zeros
            _, x = jax.lax.scan(lambda s, d: step(p, s, d), first, prepare(p, u))
        return jnp.mean((x @ p["W_out"].T + p["b_out"] - y) ** 2)

    f = jax.jit(jax.value_and_grad(loss))
    arrays = {name: jnp.asarray(values) for name, values in p.items()}, jnp.asarray(u), jnp.asarray(y)

    def call() -> float:
        value, gradient = f(*arrays)
        jax.block_until_ready(gradient)
        return float(value)

    return call


def torch_form(spec: nc.Spec, p: dict[str, np.ndarray], u: np.ndarray, y: np.ndarray) -> Call:
    """Return torch's loss and gradient, with products taken out of its loop where that is possible."""
    import torch

    torch.set_num_threads(1)
    arrays = {name: torch.tensor(values, requires_grad=True) for name, values in p.items()}
    inputs, targets = torch.tensor(u), torch.tensor(y)

    def loss() -> Any:
        zeros = torch.zeros(u.shape[1], spec.neurons)
        if spec.cell == "indrnn":
            x = inputs
            for k in range(spec.layers):
                h, hs = zeros, []
                for d in (x @ arrays[f"W_in.{k}"].T + arrays[f"bias.{k}"]).unbind(0):
                    h = torch.relu(d + arrays[f"u.{k}"] * h)
                    hs.append(h)
                x = torch.stack(hs)
        elif spec.cell == "gru":
            none = torch.zeros(2 * spec.neurons)
            recurrent = torch.cat([none, arrays["recurrent_bias"]])
            weights = arrays["W_in"], arrays["U"], arrays["bias"], recurrent
            x, _ = torch.gru(inputs, zeros[None], weights, True, 1, 0.0, True, False, False)
        else:
            prepare, step = model(spec, torch.sigmoid, torch.tanh, torch.relu, True)
            euler = spec.cell == "ctrnn" and spec.integrator == "euler"
            state = (zeros, torch.sigmoid(arrays["gain"] * (zeros + arrays["bias"]))) if euler else zeros
            features = []
            for d in prepare(arrays, inputs).unbind(0):
                state, s = step(arrays, state, d)
                features.append(s)
            x = torch.stack(features)
        return ((x @ arrays["W_out"].T + arrays["b_out"] - targets) ** 2).mean()

    def call() -> float:
        for values in arrays.values():
            values.grad = None
        value = loss()
        value.backward()
        return float(value.detach())

    return call


def compare(name: str, steps: int, count: int, neurons: int, turns: int, flops: float) -> dict[str, Any]:
    """Return the figures of one row."""
    spec = nc.Spec(inputs=INPUTS, outputs=OUTPUTS, neurons=neurons, dt_s=DT, **CELLS[name])
    rng = np.random.default_rng(0)
    u = rng.standard_normal((steps, count, INPUTS)).astype(np.float32)
    y = rng.standard_normal((steps, count, OUTPUTS)).astype(np.float32)
    theta = nc.Controller(spec, seed=0).theta.copy()
    p = {key: np.array(values) for key, values in layout(spec).views(theta).items()}
    gradient = nc.train.value_and_grad(spec, threads=1)
    forms: dict[str, Call] = {"neuroctl": lambda: gradient(theta, u, y)[0]}
    if importlib.util.find_spec("jax"):
        forms |= {"JAX": jax_form(spec, p, u, y, False), "JAX, hoisted": jax_form(spec, p, u, y, True)}
    if importlib.util.find_spec("torch"):
        forms["torch"] = torch_form(spec, p, u, y)
    losses = {form: call() for form, call in forms.items()}
    # Over 1,000 steps of a large network roundings grow: there torch and JAX differ as much from each other.
    rtol = 2e-3 if steps < 1000 else 2e-2
    np.testing.assert_allclose(list(losses.values()), losses["neuroctl"], rtol=rtol, err_msg=name)
    each = 1 if steps * neurons > 50_000 else 5
    times: dict[str, list[float]] = {form: [] for form in forms}
    for turn in range(turns):
        for form, call in forms.items():
            if form == "torch" and turn >= max(2, turns // 5):
                continue
            call()
            start = perf_counter()
            for _ in range(each):
                call()
            times[form].append((perf_counter() - start) / each)
    medians = {form: float(np.median(values)) for form, values in times.items()}
    ours = medians["neuroctl"]
    row: dict[str, Any] = {
        "cell": name, "steps": steps, "sequences": count, "neurons": neurons,
        "ms": {form: value * 1e3 for form, value in medians.items()},
        "timesteps_a_second": steps * count / ours, "share_of_peak": operations(spec, steps, count) / ours / flops,
    }  # fmt: skip
    peers = [value for form, value in medians.items() if form.startswith("JAX")]
    if peers:
        row["against_jax"] = min(peers) / ours
    if "torch" in medians:
        row["against_torch"] = medians["torch"] / ours
    return row


def main() -> None:
    """Print a row for each size and cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few turns, and no large size")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    options = parser.parse_args()
    warnings.simplefilter("ignore", nc.StabilityWarning)
    flops = peak()
    turns = 5 if options.quick else 25
    rows = [(name, 100, 32, neurons, turns) for neurons in (8, 32) for name in CELLS]
    rows += [(name, 64, 32, 64, turns) for name in ("elman", "gru")]
    if not options.quick:
        rows += [(name, 1000, 50, 128, 5) for name in CELLS]
    if not options.json:
        print(f"multiply-adds: {flops / 1e9:.0f} GFLOP/s on this core")
        print(f"{'':18}{'T':>6}{'B':>4}{'n':>5}{'ms':>9}{'JAX':>9}{'torch':>9}{'x JAX':>7}{'x torch':>8}{'of peak':>9}")
    for row in rows:
        found = compare(*row, flops)
        if options.json:
            print(json.dumps(found), flush=True)
            continue
        ms = found["ms"]
        best = min((value for form, value in ms.items() if form.startswith("JAX")), default=float("nan"))
        print(
            f"{found['cell']:18}{found['steps']:>6}{found['sequences']:>4}{found['neurons']:>5}{ms['neuroctl']:>9.3f}"
            f"{best:>9.3f}{ms.get('torch', float('nan')):>9.2f}{found.get('against_jax', float('nan')):>7.1f}"
            f"{found.get('against_torch', float('nan')):>8.1f}{found['share_of_peak']:>9.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
