"""Scalar arithmetic and the vector helpers that cells are written with."""
