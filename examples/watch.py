"""Watch an evolved controller: write a GIF and the gait of the quadruped that comes with the package.

python examples/watch.py quadruped
"""

import argparse

import sims
from neuroctl import plots
from neuroctl.errors import TaskError

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("task", nargs="?", default="quadruped")
parser.add_argument("seconds", type=float, nargs="?", default=5.0)
task, seconds = vars(parser.parse_args()).values()

try:
    controller, dt_s = sims.pretrained(task), sims.get(task).control_dt_s
    every, steps = plots.frame_every(dt_s), round(seconds / dt_s)
    episode = sims.record(task, controller, seed=1000, max_steps=steps, frames=True, frame_every=every)
except TaskError as error:
    parser.error(str(error))
plots.gif(episode.frames, f"{task}.gif", frame_s=every * dt_s)
print(f"{episode.steps} steps, return {episode.total_return:.2f}: {task}.gif")

if episode.feet_down is not None:
    legs = [leg.name for leg in sims.registry.environment(sims.get(task)).legs]
    plots.gait(episode.feet_down, legs, dt_s, f"{task}-gait.png", title=f"{task}: gait")
    print(f"{task}-gait.png")
