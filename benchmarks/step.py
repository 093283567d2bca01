"""Latency of one control step from Python, beside what a user would write instead, in one run.

    python benchmarks/step.py                 # CTRNN and its peers
    python benchmarks/step.py --cells         # all cells
    python benchmarks/step.py --json

Each form has 8 inputs and 4 outputs. Figures are the median, 99th and 99.9th percentile of single calls, timed one by
one, and the ratio of medians to neuroctl's. torch's and JAX's cells run without gradients, on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import neuroctl as nc
from neuroctl.bench import INPUTS, OUTPUTS, cell_step, latency
from neuroctl.spec import CELL_NAMES

Step = Callable[[], Any]


def blocks(neurons: int) -> dict[str, np.ndarray]:
    spec = nc.Spec(cell="ctrnn", inputs=INPUTS, neurons=neurons, outputs=OUTPUTS, dt_s=0.01)
    return dict(nc.Controller(spec).params)


def observation() -> np.ndarray:
    return np.full(INPUTS, 0.1, np.float32)


def numpy_step(neurons: int) -> Step:
    p, u = blocks(neurons), observation()
    y, rate = np.zeros(neurons, np.float32), np.float32(0.01) / p["tau_s"]

    def step() -> Any:
        s = 1 / (1 + np.exp(-p["gain"] * (y + p["bias"])))
        y[:] += rate * (p["W"] @ s + p["W_in"] @ u - y)
        return p["W_out"] @ (1 / (1 + np.exp(-p["gain"] * (y + p["bias"])))) + p["b_out"]

    return step


def torch_step(kind: str) -> Callable[[int], Step | None]:
    def make(neurons: int) -> Step | None:
        try:
            import torch
        except ImportError:
            return None
        torch.set_num_threads(1)
        cell, readout = getattr(torch.nn, kind)(INPUTS, neurons), torch.nn.Linear(neurons, OUTPUTS)
        state, u = {"h": torch.zeros(1, neurons)}, observation()[None]

        @torch.inference_mode()
        def step() -> Any:
            state["h"] = cell(torch.from_numpy(u), state["h"])
            return readout(state["h"]).numpy()

        return step

    return make


def onnx_step(neurons: int) -> Step | None:
    try:
        import onnx
        import onnxruntime
        from onnx import helper, numpy_helper
    except ImportError:
        return None
    p = blocks(neurons)
    constants = {name: p[name].T for name in ("W", "W_in", "W_out")}
    constants |= {"bias": p["bias"], "gain": p["gain"], "b_out": p["b_out"], "rate": np.float32(0.01) / p["tau_s"]}

    def logistic(y: str, s: str) -> list[Any]:
        return [
            helper.make_node("Add", [y, "bias"], [f"{s}_a"]),
            helper.make_node("Mul", [f"{s}_a", "gain"], [f"{s}_b"]),
            helper.make_node("Sigmoid", [f"{s}_b"], [s]),
        ]

    nodes = [
        *logistic("y", "s"),
        helper.make_node("MatMul", ["s", "W"], ["recurrent"]),
        helper.make_node("MatMul", ["u", "W_in"], ["drive"]),
        helper.make_node("Add", ["recurrent", "drive"], ["net"]),
        helper.make_node("Sub", ["net", "y"], ["error"]),
        helper.make_node("Mul", ["error", "rate"], ["change"]),
        helper.make_node("Add", ["y", "change"], ["new_y"]),
        *logistic("new_y", "new_s"),
        helper.make_node("MatMul", ["new_s", "W_out"], ["sum"]),
        helper.make_node("Add", ["sum", "b_out"], ["out"]),
    ]
    sizes = {"y": neurons, "u": INPUTS, "new_y": neurons, "out": OUTPUTS}
    values = {
        name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, size]) for name, size in sizes.items()
    }
    weights = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "ctrnn", [values["y"], values["u"]], [values["new_y"], values["out"]], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"y": np.zeros((1, neurons), np.float32), "u": observation()[None]}

    def step() -> Any:
        feed["y"], out = session.run(None, feed)
        return out

    return step


def jax_step(neurons: int) -> Step | None:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        import jax
    except ImportError:
        return None
    p, u = blocks(neurons), observation()
    rate = np.float32(0.01) / p["tau_s"]

    @jax.jit
    def advance(y: Any, u: Any) -> Any:
        s = jax.nn.sigmoid(p["gain"] * (y + p["bias"]))
        y = y + rate * (p["W"] @ s + p["W_in"] @ u - y)
        return y, p["W_out"] @ jax.nn.sigmoid(p["gain"] * (y + p["bias"])) + p["b_out"]

    state = {"y": np.zeros(neurons, np.float32)}

    def step() -> Any:
        state["y"], out = advance(state["y"], u)
        return np.asarray(out)

    return step


PEERS: dict[str, Callable[[int], Step | None]] = {
    "NumPy": numpy_step,
    "torch RNNCell": torch_step("RNNCell"),
    "torch GRUCell": torch_step("GRUCell"),
    "ONNX Runtime": onnx_step,
    "JAX jit": jax_step,
}


def forms(neurons: int, all_cells: bool) -> dict[str, Step | None]:
    """Return what to time, neuroctl's CTRNN first."""
    ours = {"neuroctl": cell_step("ctrnn", neurons), "neuroctl fixed": cell_step("ctrnn", neurons, fixed=True)}
    if not all_cells:
        return ours | {name: make(neurons) for name, make in PEERS.items()}
    for cell in CELL_NAMES[1:]:
        ours |= {cell: cell_step(cell, neurons), f"{cell} fixed": cell_step(cell, neurons, fixed=True)}
    return ours


def main() -> None:
    """Measure every form at every size and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--cells", action="store_true", help="all cells, no peers")
    parser.add_argument("--neurons", type=int, nargs="*", default=[8, 32, 128])
    arguments = parser.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {}
    missing = set()
    for neurons in arguments.neurons:
        steps = forms(neurons, arguments.cells)
        missing |= {name for name, step in steps.items() if step is None}
        results[str(neurons)] = {name: latency(step) for name, step in steps.items() if step is not None}
    if arguments.json:
        print(json.dumps({"machine": platform.processor() or platform.machine(), "step": results}, indent=1))
        return
    print(f"{'neurons':>7}  {'form':<15}{'p50 [us]':>9}{'p99':>8}{'p99.9':>8}{'ratio':>8}")
    for neurons, rows in results.items():
        base = rows["neuroctl"]["p50_us"]
        for name, t in rows.items():
            cells = f"{t['p50_us']:>9.2f}{t['p99_us']:>8.2f}{t['p999_us']:>8.2f}{t['p50_us'] / base:>8.1f}"
            print(f"{neurons:>7}  {name:<15}{cells}")
    if missing:
        print(f"not installed, so their rows are missing: {', '.join(sorted(missing))}", file=sys.stderr)


if __name__ == "__main__":
    main()
