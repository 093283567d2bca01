"""Firmware from a controller: exported as fixed-point C, and verified to give the same bits.

``export(q, folder)`` writes one self-contained C99 header; ``verify(folder)`` compiles it for this machine and for
emulated microcontrollers and compares every bit of every step with the integer controller that was tested.
"""

from neuroctl import siblings

if __name__ == "firmware_export":
    siblings.share(__name__)
else:
    from .emit.tunable import param_image, shape_crc32
    from .exporting import export, export_file, quantized_file
    from .packages import PACKAGES
    from .proof.report import Footprint, Mismatch, TargetReport, VerifyReport
    from .targets import TARGETS, Target
    from .verifying import verify

__all__ = [
    "PACKAGES",
    "TARGETS",
    "Footprint",
    "Mismatch",
    "Target",
    "TargetReport",
    "VerifyReport",
    "export",
    "export_file",
    "param_image",
    "quantized_file",
    "shape_crc32",
    "verify",
]
