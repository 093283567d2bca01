"""Derivatives of plants: their functions are recorded, and their adjoints written as code of the same kind."""

from neuroctl.tracing.adjoint import Recorded, Text, adjoint, adjoint_of, forward, record

__all__ = ["Recorded", "Text", "adjoint", "adjoint_of", "forward", "record"]
