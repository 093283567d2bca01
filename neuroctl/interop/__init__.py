"""Networks that others trained: taken over with a proof that they do the same."""

from neuroctl.interop.torch_modules import from_torch

__all__ = ["from_torch"]
