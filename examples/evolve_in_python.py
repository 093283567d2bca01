"""Evolve a cart-pole controller from Python, quantize it, and score both forms from starts it has not seen.

python examples/evolve_in_python.py
"""

import argparse
import tempfile
from pathlib import Path

import neuroctl as nc
import sims
from neuroctl.evolve import StudyConfig, run_study


def main(generations: int) -> None:
    spec = sims.controller_spec("cartpole", neurons=4)
    config = StudyConfig(spec=spec, task="cartpole", seed=1, generations=generations, target_score=950.0)
    folder = Path(tempfile.mkdtemp()) / "study"
    result = run_study(config, sims.EpisodeReturn("cartpole"), folder, workers=2)
    print(f"{result.generations} generations, {result.evaluations} evaluations: {result.best_path}")

    controller = nc.load(result.best_path)
    recorded = sims.record("cartpole", controller, seed=0).observations
    integers = controller.quantize(weight_bits=16, calibration=recorded)
    for form, ctl in (("float", controller), ("fixed point", integers)):
        returns = sims.score("cartpole", ctl, range(1000, 1020))
        print(f"{form}: mean return {returns.mean():.0f}, of 1000 at most")


if __name__ == "__main__":  # worker processes import this file
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generations", type=int, nargs="?", default=60)
    main(parser.parse_args().generations)
