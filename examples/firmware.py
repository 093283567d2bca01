"""Export a controller that comes with the package as C, and compare its bits on this machine and on a Cortex-M0+.

python examples/firmware.py double-pole
"""

import argparse
import tempfile
from pathlib import Path

import firmware_export as fe
import sims
from neuroctl.errors import TaskError

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("task", nargs="?", default="double-pole")
task = parser.parse_args().task
folder = Path(tempfile.mkdtemp()) / "firmware"
try:
    controller = sims.pretrained(task)
except TaskError as error:
    parser.error(str(error))
recorded = sims.record(task, controller, seed=0).observations
fe.export(controller.quantize(weight_bits=8, calibration=recorded), folder, name="balance")

report = fe.verify(folder, steps=10_000, targets=["host", "cortex-m0plus"])
for row in report.targets:
    print(f"{row.target} ({row.tools}): {row.result}, {row.mismatches} of {row.steps} steps differ")
