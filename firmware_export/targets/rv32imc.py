"""RISC-V, 32 bits, with multiply and compressed instructions: ESP32-C3, GD32VF103, CH32V3."""

from .base import Target

TARGET = Target(
    name="rv32imc",
    hint="Compile with -march=rv32imc -mabi=ilp32 -O2, or -Os for size.",
    zig=("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+c"),
    gcc=("riscv64-unknown-elf-gcc", "-march=rv32imc", "-mabi=ilp32", "-msmall-data-limit=0"),
    unicorn="RV32",
)
