"""Compiled plants: scalar dynamics, one plant a file, for lanes on the CPU and for CUDA alike."""
