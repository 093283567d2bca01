"""The link's C by itself: warnings of every compiler, checkers, what it needs of a system, and how much it takes."""

import re
import shutil
import subprocess

import pytest

import firmware_export
from firmware_export.packages import PACKAGES
from tests.firmware.helpers import CELLS, STRICT_C, STRICT_CXX, controller
from tests.firmware.test_misra import DEVIATIONS, needs_cppcheck

COMPILERS = {
    "gcc": STRICT_C,
    "clang": STRICT_C,
    "g++": [*STRICT_CXX, "-std=c++11"],
    "clang++": [*STRICT_CXX, "-std=c++11"],
    "avr-gcc": [*STRICT_C, "-mmcu=atmega328p"],
    "arm-none-eabi-gcc": [*STRICT_C, "-mcpu=cortex-m0plus", "-mthumb"],
    "riscv64-unknown-elf-gcc": [*STRICT_C, "-march=rv32imc", "-mabi=ilp32"],
}


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("level", ["-O0", "-Os", "-O3"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_compiles_without_a_warning(compiler, level, tmp_path):
    """The link, the glue of a controller with constants and with parameters in RAM, and the example."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed: the link was NOT compiled with it")
    q = controller(5, 3, 2, cell="indrnn tanh")
    firmware_export.export(q, tmp_path)
    flags = [*COMPILERS[compiler], level, "-ffreestanding", "-c", "-o", "x.o"]
    language = ["-x", "c++"] if "++" in compiler else []
    run(compiler, *flags, *language, "nc_link.c", cwd=tmp_path)
    for tunable in ([], ["-DCTL_TUNABLE"]) if compiler != "avr-gcc" else ([],):
        # Where main is what it is; Debian's RISC-V compiler has no C library, and so no hosted headers.
        as_hosted = [flag for flag in flags if flag != "-ffreestanding" or compiler.startswith("riscv")]
        run(compiler, *as_hosted, *tunable, *language, "ctl_link_example.c", cwd=tmp_path)


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
@pytest.mark.parametrize("level", ["-O0", "-Os", "-O2", "-O3"])
@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4"])
def test_needs_no_library_but_the_compilers_own(cpu, level, tmp_path):
    """No memcpy, no memset: a freestanding firmware may have neither."""
    firmware_export.export(controller(), tmp_path)
    command = ["arm-none-eabi-gcc", "-std=c99", f"-mcpu={cpu}", "-mthumb", level, "-ffreestanding", "-c"]
    run(*command, "nc_link.c", "-o", "x.o", cwd=tmp_path)
    names = run("arm-none-eabi-nm", "-u", "x.o", cwd=tmp_path).split()
    assert [name for name in names if name != "U" and not name.startswith(("__aeabi_ui", "__gnu_thumb1_case"))] == []


def test_the_header_alone_needs_no_link(tmp_path):
    """Nothing of the link is asked for by who does not include it."""
    text = firmware_export.export(controller(), tmp_path).read_text()
    assert "nc_link" not in text
    assert re.findall(r'#include "(.*)"', text) == ["ctl_tunable.h"]


@pytest.mark.parametrize("package", [name for name in PACKAGES if PACKAGES[name].source])
def test_every_package_brings_the_link(package, tmp_path):
    firmware_export.export(controller(), tmp_path, package=package)
    names = {path.name for path in tmp_path.rglob("*.[ch]")}
    assert {"ctl_link.h", "nc_link.h", "nc_link.c", "ctl_tunable.h"} <= names
    link = next(tmp_path.rglob("nc_link.h"))
    assert link.parent == next(tmp_path.rglob("ctl.h")).parent
    assert (link.parent / "ctl_link.h").is_file()


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed: the package was NOT built")
@pytest.mark.parametrize("tunable", ["ON", "OFF"])
def test_cmake_builds_the_link_into_the_library(tunable, tmp_path):
    firmware_export.export(controller(), tmp_path / "fw", name="pilot", package="cmake")
    build = ["-B", str(tmp_path / "b"), f"-DPILOT_TUNABLE={tunable}", "-DCMAKE_C_FLAGS=-Wall -Werror"]
    run("cmake", "-S", str(tmp_path / "fw"), *build, cwd=tmp_path)
    run("cmake", "--build", str(tmp_path / "b"), cwd=tmp_path)
    names = run("nm", str(tmp_path / "b" / "libpilot.a"), cwd=tmp_path)
    assert "W nc_link_feed" in names
    assert ("T pilot_params_swap" in names) == (tunable == "ON")


@needs_cppcheck
@pytest.mark.parametrize("cell", [name for name in CELLS if " " not in name])
def test_misra_finds_nothing_but_listed_deviations(cell, tmp_path):
    firmware_export.export(controller(5, 3, 2, cell=cell), tmp_path)
    (tmp_path / "only.c").write_text('#define CTL_TUNABLE\n#include "ctl_link.h"\n')
    flags = ["--std=c99", "--enable=warning,style,performance,portability", "--addon=misra", "-q", "--platform=unix32"]
    done = subprocess.run(
        ["cppcheck", *flags, "--template={id} {file}:{line} {message}", "only.c", "nc_link.c"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    deviations = [line for line in done.stderr.splitlines() if "misra-c2012" in line]
    rules = {re.search(r"misra-c2012-([\d.]+)", line).group(1): line for line in deviations}
    assert rules.keys() <= DEVIATIONS, "\n".join(line for rule, line in rules.items() if rule not in DEVIATIONS)
    assert any("nc_link.c" in line for line in deviations), "the addon did not run"
    others = [line for line in done.stderr.splitlines() if line and "misra-c2012" not in line]
    assert all(line.startswith("shiftTooManyBitsSigned") for line in others), others


SIZES = {
    "arm-none-eabi-gcc": (["-mcpu=cortex-m0plus", "-mthumb"], 4096, 256),
    "avr-gcc": (["-mmcu=atmega328p"], 6400, 256),
}


@pytest.mark.parametrize("compiler", SIZES)
def test_takes_no_more_flash_and_stack_than_the_docs_say(compiler, tmp_path):
    """Also printed, for the docs: pytest -rP."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed: sizes were NOT measured")
    firmware_export.export(controller(16, 8, 4), tmp_path)
    flags, most_flash, most_stack = SIZES[compiler]
    source = '#include "ctl_link.h"\nctl_link_t self;\n'
    (tmp_path / "ram.c").write_text(source)
    run(compiler, *flags, "-std=gnu99", "-Os", "-fstack-usage", "-c", "nc_link.c", "-o", "nc_link.o", cwd=tmp_path)
    run(compiler, *flags, "-std=gnu99", "-Os", "-fno-common", "-c", "ram.c", "-o", "ram.o", cwd=tmp_path)
    size = compiler.replace("gcc", "size")
    flash = int(run(size, "nc_link.o", cwd=tmp_path).splitlines()[1].split()[0])
    ram = int(run(size, "ram.o", cwd=tmp_path).splitlines()[1].split()[2])
    frames = [int(line.split("\t")[1]) for line in (tmp_path / "nc_link.su").read_text().splitlines()]
    deepest = sum(sorted(frames)[-5:])  # the longest chain has five of ours
    print(f"{compiler}: flash {flash}, RAM of link and controller {ram}, stack below {deepest}")
    assert flash <= most_flash
    assert deepest <= most_stack
