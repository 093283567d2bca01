"""Runs a small study, for tests that kill it. Arguments: folder, workers, resume, generations, objective."""

import json
import sys
from pathlib import Path

import neuroctl as nc
from neuroctl.evolve import StudyConfig, run_study
from neuroctl.evolve.generations import GenerationLog
from neuroctl.io import read_archive
from tests.evolve import objectives

SPEC = nc.Spec(cell="ctrnn", inputs=2, neurons=2, outputs=1, dt_s=0.05, input_limits=((-1, 1), (-1, 1)))


def config(**changes):
    fields = {"spec": SPEC, "task": "follow", "seed": 4, "generations": 12, "population": 6, "episodes": 2}
    return StudyConfig(**(fields | {"validation_episodes": 5} | changes))


def generations_in(folder, width=1):
    """The records of a study that has ended."""
    fields = read_archive(folder / "checkpoint.npz").fields
    return GenerationLog(folder / "generations.bin", width).read(fields["length"], fields["digest"])


def main(folder, workers, resume, generations, objective):
    result = run_study(
        config(generations=int(generations)),
        getattr(objectives, objective),
        Path(folder),
        workers=int(workers),
        resume=resume == "1",
        on_generation=lambda progress: print(progress.generation, flush=True),
    )
    print(json.dumps(result.to_dict()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
