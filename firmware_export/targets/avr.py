"""AVR with a multiplier, such as ATmega328P: 8 bits, 16-bit int, tables in flash as an address space of its own."""

from .base import Target

TARGET = Target(
    name="avr",
    hint="Compile as C with -std=gnu99 -mmcu=atmega328p -O2, or -Os for size: then tables stay in flash.",
    gcc=("avr-gcc", "-mmcu=atmega328p"),
    simavr="atmega328p",
    flash_bytes=32 << 10,
    ram_bytes=2 << 10,
)
