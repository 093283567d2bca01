"""One recurrent layer and its readout, with weights named and ordered as torch does, as a controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.cells import layout
from neuroctl.controller import Controller
from neuroctl.errors import InteropError
from neuroctl.spec import Spec

Array = NDArray[Any]

GATES: Final = {"elman": 1, "gru": 3}
"""Rows of the weights, in multiples of the neurons; the GRU's gates are r, z and the candidate, as in torch."""


@dataclass(frozen=True)
class Network:
    """A recurrent layer and its readout; matrices are ``[to, from]``.

    Args:
        cell: ``"elman"`` or ``"gru"``.
        activation: of an Elman network: ``"tanh"`` or ``"relu"``; None for a GRU.
        weight_ih: float64 ``[gates n, m]``.
        weight_hh: float64 ``[gates n, n]``.
        bias_ih: float64 ``[gates n]``.
        bias_hh: float64 ``[gates n]``.
        readout: weight ``[q, n]`` and bias ``[q]``; None where the state itself is the output.
        output_activation: what is applied to the readout.

    """

    cell: str
    activation: str | None
    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array
    readout: tuple[Array, Array] | None = None
    output_activation: str = "identity"

    def __post_init__(self) -> None:
        """Check that the sizes fit each other."""
        rows, n = self.weight_hh.shape
        sizes = {
            "weight_hh": ((rows, n), (GATES[self.cell] * n, n)),
            "weight_ih": (self.weight_ih.shape, (rows, self.weight_ih.shape[-1])),
            "bias_ih": (self.bias_ih.shape, (rows,)),
            "bias_hh": (self.bias_hh.shape, (rows,)),
        }
        if self.readout is not None:
            weight, bias = self.readout
            sizes["readout"] = (weight.shape, (len(weight), n))
            sizes["readout's bias"] = (bias.shape, (len(weight),))
        for name, (got, allowed) in sizes.items():
            if got != allowed:
                raise InteropError(f"{name}: shape {got}; allowed: {allowed}")

    def spec(self, dt_s: float, dtype: str, **limits: Any) -> Spec:
        """Return the spec of the controller.

        Raises:
            SpecError: dt_s or limits are not allowed.

        """
        n, m = self.weight_hh.shape[1], self.weight_ih.shape[1]
        return Spec(
            cell=self.cell, inputs=m, neurons=n, outputs=n if self.readout is None else len(self.readout[0]),
            dt_s=dt_s, activation=self.activation, readout="identity" if self.readout is None else "affine",
            output_activation=self.output_activation, dtype=dtype, **limits,
        )  # fmt: skip

    def controller(self, spec: Spec) -> Controller:
        """Return the controller of a spec.

        Raises:
            LayoutError: a weight is NaN or infinite.

        """
        theta = np.zeros(layout(spec).size)
        blocks: Mapping[str, Array] = layout(spec).views(theta)
        n = spec.neurons
        blocks["W_in"][:], blocks["U"][:] = self.weight_ih, self.weight_hh
        blocks["bias"][:] = self.bias_ih + self.bias_hh
        if self.cell == "gru":  # the reset gate acts on the product with the state and its bias: they stay apart
            blocks["bias"][2 * n :] = self.bias_ih[2 * n :]
            blocks["recurrent_bias"][:] = self.bias_hh[2 * n :]
        if self.readout is not None:
            blocks["W_out"][:], blocks["b_out"][:] = self.readout
        return Controller(spec, theta)
