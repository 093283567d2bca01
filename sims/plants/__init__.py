"""Compiled plants: scalar dynamics, one plant per file, for lanes on the CPU and for CUDA."""
