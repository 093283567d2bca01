"""What a step costs on each core: 16 neurons, 8 inputs, 4 outputs, as docs/firmware.md has it.

    python benchmarks/firmware.py                        # a CTRNN, a GRU, a CfC, 16- and 8-bit weights, all targets
    python benchmarks/firmware.py --cells gru --targets cortex-m4 avr

Each is exported and verified; rows are instructions a step at -O2 (AVR: cycles), flash at -Os with code, tables and
weights, RAM of a state and stack, in bytes.
"""

from __future__ import annotations

import argparse
import tempfile

import firmware_export
import neuroctl as nc

LIMITS = {"input_limits": ((-2.0, 2.0),) * 8, "output_limits": ((-10.0, 10.0),) * 4}


def main() -> None:
    """Print a table for each cell and width of weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", default=["ctrnn", "gru", "cfc"])
    parser.add_argument("--targets", nargs="+", default=None)
    parser.add_argument("--steps", type=int, default=1000, help="steps that are compared")
    options = parser.parse_args()
    for cell in options.cells:
        for bits in (16, 8):
            spec = nc.Spec(cell=cell, inputs=8, neurons=16, outputs=4, dt_s=0.02, **LIMITS)
            with tempfile.TemporaryDirectory() as folder:
                firmware_export.export(nc.Controller(spec, seed=3).quantize(weight_bits=bits), folder, name="ctl")
                report = firmware_export.verify(folder, steps=options.steps, targets=options.targets)
            print(f"\n{cell}, {bits}-bit weights\n{'':32}{'result':>8}{'cost':>9}{'flash':>7}{'RAM':>6}{'stack':>7}")
            for target in report.targets:
                cost, name = target.footprint, f"{target.target}: {target.tools}"
                figures = ""
                if cost is not None:
                    flash = cost.code_small + cost.const
                    figures = f"{cost.cost_mean:9,.0f}{flash:7,}{cost.ram:6}{cost.stack:7}"
                print(f"{name:32}{target.result:>8}{figures}", flush=True)


if __name__ == "__main__":
    main()
