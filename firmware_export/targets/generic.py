"""Any core with a C99 compiler: nothing is assumed."""

from .base import Target

TARGET = Target(name="generic", hint="Any C99 or C++11 compiler; nothing but <stdint.h> is assumed.")
