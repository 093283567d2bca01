"""The parts of ``verify``: stimulus, compilers, emulator and report."""
