"""The machine that runs this program, with its own C compilers."""

from .base import Target

TARGET = Target(name="host", hint="The PC's own compiler: cc -std=c99 -O2.", host=True)
