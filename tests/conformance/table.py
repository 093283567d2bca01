"""Print how far each form of each cell is from the plain equations: the largest error of an output.

python -m tests.conformance.table          # Markdown, as in docs/conformance.md
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np

from tests.conformance import cases, forms, plain


def errors():
    """``{dtype: {case: {form: error}}}`` of the forms that run in this process."""
    result = {}
    for dtype in ("float64", "float32"):
        result[dtype] = {}
        for name in cases.OPTIONS:
            spec, theta, u = cases.case(name, dtype)
            exact = plain.rollout(spec, theta, u)
            integers = forms.INTEGERS if dtype == "float32" and cases.in_fixed_point(name) else {}
            row = {
                form: float(np.abs(f(spec, theta, u) - exact).max()) for form, f in (forms.FLOATS | integers).items()
            }
            result[dtype][name] = row
    return result


def simulated():
    """The same by CUDA's simulator, in a process of its own."""
    env = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.conformance.table", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main():
    table = errors()
    if "--json" in sys.argv:
        print(json.dumps(table))
        return
    title = "cuda"
    if "cuda" not in forms.FLOATS and find_spec("numba_cuda") is not None:
        title = "cuda, simulated"
        for dtype, rows in simulated().items():
            for name, row in rows.items():
                table[dtype][name] |= {title: row["cuda"]}
    for dtype, rows in table.items():
        columns = [*(form for form in forms.FLOATS if form != "cuda"), title]
        columns += [form for form in forms.INTEGERS if dtype == "float32"]
        print(f"\n| {dtype} | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
        for name, row in rows.items():
            print(f"| {name} | " + " | ".join(f"{row[c]:.1e}" if c in row else "-" for c in columns) + " |")


if __name__ == "__main__":
    main()
