"""What the tests of the board's side share: exported folders, and programs made of them."""

import shutil
import subprocess
from pathlib import Path

import pytest

import firmware_export
from tests.firmware.helpers import CC, SANITIZE, STRICT_C, controller

HERE = Path(__file__).parent
needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed: the board was NOT emulated"
)


def exported(q, folder, name="ctl"):
    firmware_export.export(q, folder, name=name)
    return folder


def fuzzer(folder, compiler=CC, flags=(*SANITIZE, "-DFUZZ_MAIN"), name="ctl", level="-O1"):
    """Build ``fuzz_link.c`` with the controller of an export folder, whose parameters are in RAM."""
    big = name.upper()
    (folder / "model.h").write_text(
        f'#define {big}_TUNABLE\n#include "{name}_link.h"\n'
        f"typedef {name}_link_t model_link_t;\n#define model_link_init {name}_link_init\n"
        f"#define model_live {name}_live\n"
        f"#define MODEL_INPUTS {big}_INPUTS\n#define MODEL_OUTPUTS {big}_OUTPUTS\n"
    )
    strict = [flag for flag in STRICT_C if "conversion" not in flag and "cast-qual" not in flag]
    command = [compiler, *strict, level, *flags, f"-I{folder}", str(HERE / "fuzz_link.c"), str(folder / "nc_link.c")]
    done = subprocess.run([*command, "-o", str(folder / "fuzz")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "fuzz"


__all__ = ["HERE", "controller", "exported", "fuzzer", "needs_qemu"]
