"""Export a controller that comes with the package as C, and compare its bits on this machine and on a Cortex-M0+.

python examples/firmware.py double-pole
"""

import sys
import tempfile
from pathlib import Path

import firmware_export as fe
import sims

task = sys.argv[1] if len(sys.argv) > 1 else "double-pole"
folder = Path(tempfile.mkdtemp()) / "firmware"
controller = sims.pretrained(task)
recorded = sims.record(task, controller, seed=0).observations
fe.export(controller.quantize(weight_bits=8, calibration=recorded), folder, name="balance")

report = fe.verify(folder, steps=10_000, targets=["host", "cortex-m0plus"])
for row in report.targets:
    print(f"{row.target} ({row.tools}): {row.result}, {row.mismatches} of {row.steps} steps differ")
