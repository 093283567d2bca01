"""Seconds that a new process takes to import neuroctl, and then to its first step with compiled code cached.

    python benchmarks/cold_start.py
    python benchmarks/cold_start.py --json

Medians of 11 processes.
"""

import json
import sys

from neuroctl.bench import cold_start

if __name__ == "__main__":
    figures = cold_start(runs=11)
    if "--json" in sys.argv:
        print(json.dumps(figures))
    else:
        print("import {import_s:.2f} s, first step {first_step_s:.2f} s after that".format(**figures))
