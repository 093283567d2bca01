"""The walker on a GPU: agent-steps a second, the fraction of the card's float32 peak, and the CPU's lanes beside it.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --neurons 16 --individuals 65536 --json

An agent-step is one control step of one individual: the network's and the plant's. Operations are counted by hand from
the equations (a multiply-add is two, a logistic 20, the plant's sine, cosine and arc tangent 20 each), the peak from
the card's multiprocessors, cores and clock. Times hold the copies to and from the card.
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter

import numpy as np

import neuroctl as nc
from neuroctl.backends import get
from neuroctl.cells import initial
from neuroctl.errors import BackendUnavailable
from sims.plants import walker

STEPS = 2200
PLANT_OPERATIONS = 100
CORES = {(7, 5): 64, (8, 0): 64}  # float32 cores of a multiprocessor; 128 in all later ones


def spec_of(neurons: int) -> nc.Spec:
    limits = ((0.0, 1.0),) * 3
    return nc.Spec(cell="ctrnn", inputs=1, neurons=neurons, outputs=3, dt_s=0.1, output_limits=limits)


def operations(neurons: int) -> int:
    """Operations of an agent-step: weights and inputs, relaxation, activation, readout, plant."""
    return neurons * (2 * (neurons + 1) + 3 + 22) + 2 * 3 * neurons + PLANT_OPERATIONS


def peak_flops() -> float:
    from numba import cuda

    device = cuda.get_current_device()
    cores = device.MULTIPROCESSOR_COUNT * CORES.get(device.compute_capability, 128)
    return 2.0 * cores * device.CLOCK_RATE * 1e3


def measure(backend: object, spec: nc.Spec, theta: np.ndarray, runs: int, **options: int) -> float:
    """Return agent-steps a second, the median of several runs."""
    backend.rollout(spec, theta, walker, STEPS, **options)
    seconds = []
    for _ in range(runs):
        begin = perf_counter()
        backend.rollout(spec, theta, walker, STEPS, **options)
        seconds.append(perf_counter() - begin)
    return theta.shape[1] * STEPS / float(np.median(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neurons", type=int, default=16)
    parser.add_argument("--individuals", type=int, nargs="+", default=[4096, 16384, 65536, 262144])
    parser.add_argument("--threads", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        gpu = get("cuda")
    except BackendUnavailable as error:
        raise SystemExit(str(error)) from None
    spec, peak, rows = spec_of(arguments.neurons), peak_flops(), []
    few = np.stack([initial(spec, seed) for seed in range(256)], axis=1)
    on_cpu = measure(get("cpu"), spec, np.ascontiguousarray(np.tile(few, 16)), 3)
    for count in arguments.individuals:
        theta = np.ascontiguousarray(np.tile(few, -(-count // 256))[:, :count])
        for threads in arguments.threads:
            rate = measure(gpu, spec, theta, arguments.runs, threads=threads)
            row = {"individuals": count, "threads": threads, "agent_steps_per_s": rate}
            rows.append(row | {"of_peak": rate * operations(arguments.neurons) / peak, "times_cpu": rate / on_cpu})
    if arguments.json:
        print(json.dumps({"neurons": arguments.neurons, "peak_flops": peak, "cpu_steps_per_s": on_cpu, "rows": rows}))
        return
    print(
        f"walker, CTRNN with {arguments.neurons} neurons; CPU lanes {on_cpu:.3g} agent-steps/s; peak {peak:.3g} flop/s"
    )
    for row in rows:
        size = "{individuals:>9} individuals {threads:>4} threads".format(**row)
        print(size, "{agent_steps_per_s:>10.3g}/s {of_peak:>7.2%} of peak {times_cpu:>7.1f} x the CPU".format(**row))


if __name__ == "__main__":
    main()
