"""NAME OF THE CORE: its distinguishing features, in one line. Copy this file, fill it in, add it to ``TARGETS``.

1. ``zig``: flags with which ``python -m ziglang cc`` compiles for it; ``gcc``: a cross compiler's command and flags.
2. ``unicorn``: a row of ``CORES`` in ``firmware_export/proof/emulate.py``; ``qemu``: a board with the core.
3. ``firmware_export/targets/__init__.py``: import the file and add one line to ``TARGETS``. The tests run over the
   table: ``python -m pytest tests/firmware`` then builds for the core and compares every bit.

Faster code for the core belongs in ``firmware_export/runtime/nc_fixed.h``, behind the compiler's own macro for it and
``!defined(NC_PORTABLE)``, with the plain C path beside it. A core of another family also needs a row in ``CORES``.
"""

from .base import Board, Target

TARGET = Target(
    name="cortex-mX",
    hint="Compile with -mcpu=cortex-mX -mthumb -O2.",
    zig=("-target", "thumb-freestanding-eabi", "-mcpu=cortex_mX"),
    gcc=("arm-none-eabi-gcc", "-mcpu=cortex-mX", "-mthumb"),
    unicorn="MX",
    qemu=Board("a machine of qemu-system-arm -M help"),
)
