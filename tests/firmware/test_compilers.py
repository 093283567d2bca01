"""Compilers and machines beyond those that ``verify`` runs: older, smaller, 32 bits, big-endian, C++20, one program."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import firmware_export
from tests.firmware.helpers import (
    CELLS,
    STRICT,
    UNEQUAL,
    batch_source,
    controller,
    extreme_inputs,
    mixed_bits,
    run_batch,
    state_of,
)

SHAPES = {**{cell: {"cell": cell} for cell in CELLS}, "16-bit state": {"state_bits": 16}, "8 bits": {"weight_bits": 8}}
SHAPES |= {f"{bits} bits": {"weight_bits": bits} for bits in (4, 3, 2)}
SHAPES |= {"formats of their own": UNEQUAL, "jordan, formats of their own": {"cell": "jordan", **UNEQUAL}}
SHAPES |= {f"{cell}, mixed bits": {"cell": cell, "weight_bits": mixed_bits(cell)} for cell in CELLS}
POISON = "#pragma GCC poison __builtin_arm_smlad __builtin_arm_smlawb\n"
"""What a compiler does that has no such names."""

WAYS = {
    "tcc": (["tcc"], []),
    "gcc -m32": (["gcc", "-m32", "-O2", "-std=c99"], []),
    "gcc -m32 -O0 x87": (["gcc", "-m32", "-march=i586", "-O0"], []),
    "gcc -flto": (["gcc", "-O2", "-flto", "-std=c11"], []),
    "gcc -funsigned-char": (["gcc", "-O2", "-funsigned-char", "-fshort-enums"], []),
    "clang -flto": (["clang", "-O2", "-flto", "-fuse-ld=lld"], []),
    "g++ C++20": (["g++", "-x", "c++", "-std=c++20", "-O2", *STRICT], []),
    "clang++ C++20": (["clang++", "-x", "c++", "-std=c++20", "-O2", *STRICT], []),
    "big-endian PowerPC": (["powerpc-linux-gnu-gcc", "-O2", "-static", "-std=c99"], ["qemu-ppc"]),
    "Armv5TE": (["arm-linux-gnueabi-gcc", "-march=armv5te", "-marm", "-O2", "-static"], ["qemu-arm"]),
    "Armv5TE Thumb": (["arm-linux-gnueabi-gcc", "-march=armv5te", "-mthumb", "-O2", "-static"], ["qemu-arm"]),
    "Armv6 with SIMD": (["arm-linux-gnueabi-gcc", "-march=armv6", "-marm", "-O2", "-static"], ["qemu-arm"]),
    "Armv7-A Thumb-2": (["arm-linux-gnueabi-gcc", "-march=armv7-a", "-mthumb", "-O2", "-static"], ["qemu-arm"]),
}
"""A compiler, and what runs its programs."""


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """One exported controller of each shape, inputs, and the outputs and states that the integers have for them."""
    folder = tmp_path_factory.mktemp("batch")
    controllers = [controller(7, 3, 2, **options) for options in SHAPES.values()]
    headers = [firmware_export.export(q, folder / f"c{k}", name=f"c{k}") for k, q in enumerate(controllers)]
    inputs = [extreme_inputs(3, 60, seed) for seed in range(len(controllers))]
    truth = []
    for q, u in zip(controllers, inputs, strict=True):
        q.reset()
        truth.append([(q.step_int(row).copy(), state_of(q)) for row in u])
    return controllers, headers, inputs, truth


@pytest.mark.parametrize("way", WAYS)
def test_every_cell_gives_the_same_bits(way, batch, tmp_path):
    (compiler, runner), (controllers, headers, inputs, truth) = WAYS[way], batch
    for tool in (compiler[0], *runner):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: generated C was NOT run with {way}")
    source = batch_source(headers, controllers)
    if "big-endian" in way:  # inputs and words cross a pipe as little-endian bytes
        source = swapped(source)
    (tmp_path / "all.c").write_text(source)
    done = subprocess.run([*compiler, "all.c", "-o", "all"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    program = tmp_path / "all"
    if runner:
        program = tmp_path / "run"
        program.write_text(f"#!/bin/sh\nexec {' '.join(runner)} {tmp_path / 'all'}\n")
        program.chmod(0o755)
    for outcome, wanted in zip(run_batch(program, controllers, inputs), truth, strict=True):
        assert np.array_equal(outcome[0], np.array([outputs for outputs, _ in wanted]))
        assert np.array_equal(outcome[1], np.array([state for _, state in wanted]))


def swapped(source):
    """The program for a machine whose bytes stand the other way round."""
    read = "if (fread(in, sizeof in, 1, stdin) != 1) return 4;"
    swap = "for (i = 0; i < (int)(sizeof in / 2); i++) in[i] = (int16_t)__builtin_bswap16((uint16_t)in[i]);"
    assert source.count(read) == len(SHAPES)
    source = source.replace(read, f"{read}\n            {swap}")
    source = source.replace(
        "stdin) != 1) return 3;", "stdin) != 1) return 3;\n        count = (int32_t)__builtin_bswap32((uint32_t)count);"
    )
    return source.replace("{ fwrite(", "{ word = (int32_t)__builtin_bswap32((uint32_t)word); fwrite(")


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_as_a_system_header_it_is_silent_in_cpp_about_casts_of_c(compiler, batch, tmp_path):
    """What docs/firmware.md says for flags that only C++ code can satisfy."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed: warnings of C++ were NOT looked at")
    flags = ["-x", "c++", "-std=c++20", *STRICT, "-Wold-style-cast", *(["-Wuseless-cast"] if compiler == "g++" else [])]
    for header in batch[1]:
        name, big = header.stem, header.stem.upper()
        (tmp_path / "use.cpp").write_text(
            f"#include <{name}.h>\n#include <{name}_link.h>\nint use();\nint use()\n{{\n"
            f"    static {name}_state_t state;\n    {name}_in_t in[{big}_INPUTS] = {{0}};\n"
            f"    {name}_out_t out[{big}_OUTPUTS];\n    {name}_init(&state);\n    {name}_step(&state, in, out);\n"
            f"    return out[0] + {name}_selftest();\n}}\n"
        )
        command = [compiler, *flags, f"-isystem{header.parent}", "-c", "use.cpp"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed: NOT built")
@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"])
def test_a_gcc_before_10_compiles_without_names_that_it_lacks(cpu, batch, tmp_path):
    """GCC 7, of Arduino's mbed core, has neither ``__has_builtin`` nor the builtins: it takes plain C."""
    for header in batch[1]:
        old = header.read_text().replace("__has_builtin", "NC_UNKNOWN_TO_GCC_7")
        assert old.count("NC_UNKNOWN_TO_GCC_7") == 3
        (tmp_path / header.name).write_text(old)
    text = POISON + "".join(f'#include "{header.name}"\n' for header in batch[1])
    text += "int all(void);\nint all(void) { return " + " + ".join(f"{h.stem}_selftest()" for h in batch[1]) + "; }\n"
    (tmp_path / "all.c").write_text(text)
    flags = [f"-mcpu={cpu}", "-mthumb", "-ffreestanding", "-std=c99", *STRICT, "-O2", "-c"]
    done = subprocess.run(["arm-none-eabi-gcc", *flags, "all.c"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed: NOT built")
@pytest.mark.parametrize("level", ["-O0", "-O2", "-Oz"])
@pytest.mark.parametrize(
    ("triple", "cpu", "dsp"),
    [
        ("thumbv6m-none-eabi", "cortex-m0plus", False),
        ("thumbv7em-none-eabi", "cortex-m4", True),
        ("thumbv8m.main-none-eabi", "cortex-m33", True),
        ("armv5te-none-eabi", "arm926ej-s", False),
    ],
)
def test_clang_for_arm_takes_the_instructions_that_there_are(triple, cpu, dsp, level, batch, tmp_path):
    text = "".join(f'#include "{header}"\n' for header in batch[1])
    text += "int all(void);\nint all(void) { return " + " + ".join(f"{h.stem}_selftest()" for h in batch[1]) + "; }\n"
    (tmp_path / "all.c").write_text(text)
    flags = [f"--target={triple}", f"-mcpu={cpu}", "-ffreestanding", "-std=c99", *STRICT, level, "-S", "-o", "all.s"]
    done = subprocess.run(["clang", *flags, "all.c"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("smmulr" in Path(tmp_path / "all.s").read_text()) == dsp


AVR_SOURCE = """#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include "avr_mcu_section.h"
#include "{header}"
AVR_MCU_SIMAVR_CONSOLE(&GPIOR0);
int main(void)
{{
    const char *text = ctl_selftest() == 0 ? "self-test passed" : "self-test failed";
    for (; *text != 0; text++) GPIOR0 = (uint8_t)*text;
    GPIOR0 = '\\r';
    cli();
    sleep_mode();
    return 0;
}}
"""


@pytest.mark.skipif(
    shutil.which("avr-gcc") is None or shutil.which("simavr") is None or not Path("/usr/include/simavr").exists(),
    reason="avr-gcc or simavr is not installed: NOT run on other AVR parts",
)
@pytest.mark.parametrize("part", ["attiny85", "atmega168", "atmega2560", "atmega32u4", "atmega1284p"])
@pytest.mark.parametrize("bits", [8, "mixed"])
@pytest.mark.parametrize("cell", ["ctrnn", "elman", "hopfield"])
def test_the_self_test_passes_on_other_avr_parts(part, cell, bits, tmp_path):
    """An ATtiny85 has no multiplier, an ATmega2560 more flash than a pointer reaches."""
    weight_bits = mixed_bits(cell) if bits == "mixed" else bits
    header = firmware_export.export(controller(5, 2, 1, weight_bits=weight_bits, cell=cell), tmp_path)
    (tmp_path / "x.c").write_text(AVR_SOURCE.format(header=header))
    flags = [f"-mmcu={part}", "-std=gnu99", "-Os", "-Wall", "-I/usr/include/simavr/avr", "x.c", "-o", "x.elf"]
    subprocess.run(["avr-gcc", *flags], cwd=tmp_path, check=True)
    command = ["simavr", "-m", part, "-f", "8000000", "x.elf"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "passed" in done.stdout + done.stderr
