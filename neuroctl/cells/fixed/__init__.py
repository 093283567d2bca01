"""Integer forms of the cells: formats, steps, and the proof that 32 bits suffice. The table is ``neuroctl.cells``."""

from neuroctl.cells.fixed import cfc, ctrnn, elman, gru, hopfield, indrnn, jordan, layered

__all__ = ["cfc", "ctrnn", "elman", "gru", "hopfield", "indrnn", "jordan", "layered"]
