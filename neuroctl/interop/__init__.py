"""Networks that others trained, taken over with a proof that they do the same; and controllers for other tools."""

from neuroctl.interop.ctrnn_import import from_ctrnn
from neuroctl.interop.ncps_import import from_ncps
from neuroctl.interop.onnx_import import from_onnx
from neuroctl.interop.onnx_models import to_onnx
from neuroctl.interop.rltools_import import from_rltools
from neuroctl.interop.torch_export import to_torch
from neuroctl.interop.torch_import import from_torch

__all__ = ["from_ctrnn", "from_ncps", "from_onnx", "from_rltools", "from_torch", "to_onnx", "to_torch"]
