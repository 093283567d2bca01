"""Watch an evolved controller: write a GIF and the gait of the quadruped that comes with the package.

python examples/watch.py quadruped
"""

import sys

import sims
from neuroctl import plots

task = sys.argv[1] if len(sys.argv) > 1 else "quadruped"
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0

controller = sims.pretrained(task)
dt_s = sims.get(task).control_dt_s
every = plots.frame_every(dt_s)
episode = sims.record(task, controller, seed=1000, max_steps=round(seconds / dt_s), frames=True, frame_every=every)
plots.gif(episode.frames, f"{task}.gif", frame_s=every * dt_s)
print(f"{episode.steps} steps, return {episode.total_return:.2f}: {task}.gif")

if episode.feet_down is not None:
    legs = [leg.name for leg in sims.registry.environment(sims.get(task)).legs]
    plots.gait(episode.feet_down, legs, dt_s, f"{task}-gait.png", title=f"{task}: gait")
    print(f"{task}-gait.png")
