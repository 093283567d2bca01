"""The exported C by cppcheck and its MISRA addon: nothing but the deviations that docs/misra.md lists with a reason."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import firmware_export
from tests.firmware.helpers import CELLS, UNEQUAL, controller, mixed_bits

DOC = Path(__file__).parents[2] / "docs" / "misra.md"
DEVIATIONS = set(re.findall(r"\d+\.\d+", " ".join(re.findall(r"^\| ([\d., ]+) \|", DOC.read_text(), re.MULTILINE))))
MANDATORY = {"9.1", "12.5", "13.6", "17.3", "17.4", "17.6", "19.1", "21.13", "21.17", "21.18", "21.19", "21.20", "22.2"}
needs_cppcheck = pytest.mark.skipif(shutil.which("cppcheck") is None, reason="cppcheck is not installed: MISRA NOT run")


@needs_cppcheck
@pytest.mark.parametrize("cell", [*CELLS, "slow", "packed", "unequal"])
def test_nothing_but_listed_deviations(cell, tmp_path):
    others = {"slow": {"dt_s": 1e-6}, "packed": {"weight_bits": mixed_bits("ctrnn")}, "unequal": UNEQUAL}
    q = controller(5, 3, 2, **others.get(cell, {"cell": cell}))
    firmware_export.export(q, tmp_path, name="ctl")
    (tmp_path / "only.c").write_text('#include "ctl.h"\n')
    flags = ["--std=c99", "--enable=warning,style,performance,portability", "--addon=misra", "-q", "--platform=unix32"]
    done = subprocess.run(
        ["cppcheck", *flags, "--template={id} {file}:{line} {message}", "only.c"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    deviations = [line for line in done.stderr.splitlines() if line and "misra-c2012" in line]
    rules = {re.search(r"misra-c2012-([\d.]+)", line).group(1) for line in deviations}
    assert rules <= DEVIATIONS, "\n".join(deviations)
    assert deviations, "the addon did not run"
    others = [line for line in done.stderr.splitlines() if line and "misra-c2012" not in line]
    allowed = ("shiftTooManyBitsSigned",)  # of nc_asr, whose shift compilers agree on: see rule 10.1
    assert all(line.startswith(allowed) for line in others), others


def test_no_deviation_is_from_a_mandatory_rule():
    assert DEVIATIONS
    assert not DEVIATIONS & MANDATORY
