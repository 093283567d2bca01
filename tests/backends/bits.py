"""Prints a hash of what each compiled form computes; run in a process of its own, see ``test_cached_code``."""

import hashlib

import numpy as np

import neuroctl as nc
import sims
from neuroctl.backends import get
from neuroctl.cells import initial
from neuroctl.spec import CELL_NAMES


def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:16]


def cells():
    u = np.random.default_rng(0).uniform(-1, 1, (100, 3)).astype(np.float32)
    for cell in CELL_NAMES:
        readout = "last" if cell == "hopfield" else None
        spec = nc.Spec(cell=cell, inputs=3, neurons=9, outputs=2, dt_s=0.05, readout=readout)
        theta = np.stack([initial(spec, seed) for seed in range(5)])
        print(cell, "rollout", digest(nc.Controller(spec, theta[0]).rollout(u)))
        population = get("cpu").rollout(spec, np.ascontiguousarray(theta.T), u)
        print(cell, "lanes", digest(population.outputs, population.state))


def plants():
    for name in sims.names():
        if not sims.get(name).plant:
            continue
        objective, spec = sims.objective(name, 60), sims.controller_spec(name, 4)
        theta = np.stack([initial(spec, seed) for seed in range(5)])
        print(name, "lanes", digest(objective.batch(spec, theta, [3, 4], 2)))
        print(name, "shared", digest([objective(nc.Controller(spec, row), 3) for row in theta]))


if __name__ == "__main__":
    cells()
    plants()
