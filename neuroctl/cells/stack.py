"""Several recurrent layers of one kind in a cell: names of their blocks, and what their gradients are made of.

Each layer is ``spec.neurons`` wide. One takes the states of the one before it of the same step; the last one's are read
out. With one layer blocks have the cell's plain names, such as ``U``; with several ``U.0``, ``U.1``, ...
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from neuroctl.cells import base
from neuroctl.spec import Spec

Array = NDArray[Any]


def of_layer(spec: Spec, name: str, layer: int) -> str:
    """Return the name of a layer's block."""
    return name if spec.layers == 1 else f"{name}.{layer}"


def names(spec: Spec, name: str) -> list[str]:
    """Return the names of a block in all layers."""
    return [of_layer(spec, name, layer) for layer in range(spec.layers)]


def parameter_blocks(spec: Spec, gates: int, recurrent_bias: bool = False) -> list[tuple[Any, ...]]:
    """Return the blocks of theta of all layers, and at the end those of the readout and of a learned initial state.

    Args:
        spec: the controller.
        gates: rows of W_in, U and bias in multiples of the neurons.
        recurrent_bias: whether each layer has a bias in its products with U too.

    """
    n, blocks = spec.neurons, list[tuple[Any, ...]]()
    for layer, columns in enumerate((spec.inputs, *(n,) * (spec.layers - 1))):
        own: dict[str, tuple[int, ...]] = {"W_in": (gates * n, columns), "U": (gates * n, n), "bias": (gates * n,)}
        own |= {"recurrent_bias": (n,)} if recurrent_bias else {}
        blocks += [(of_layer(spec, name, layer), shape, "1") for name, shape in own.items()]
    starts = dict.fromkeys(names(spec, "h0"), n)
    return [
        *blocks, *base.readout_blocks(spec), *base.initial_blocks(spec, starts, base.activation_bound(spec)),
    ]  # fmt: skip


def initial(spec: Spec) -> dict[str, str]:
    """Return which blocks the h of all layers start from, see ``base.Cell``."""
    return dict(zip(names(spec, "h"), names(spec, "h0"), strict=True))


def own_ints(spec: Spec) -> list[int]:
    """Return the number of layers, which stands at ``base.OPTION``."""
    return [spec.layers]


def delta_of(name: str, layer: int) -> str:
    """Return the name of a layer's block of deltas; the first one's is the cell's."""
    return name if layer == 0 else f"{name}.{layer}"


def products(spec: Spec, recalled: str) -> tuple[base.Product, ...]:
    """Return what W_in and U of each layer, and W_out, get their gradients from.

    ``recalled`` is the block of deltas that has the change with U h.
    """
    h, all_products = names(spec, "h"), list[base.Product]()
    for k, x in enumerate(("u", *h[:-1])):
        all_products += [
            base.Product(delta_of("drive", k), x, False, of_layer(spec, "W_in", k)),
            base.Product(delta_of(recalled, k), h[k], True, of_layer(spec, "U", k)),
        ]
    return (*all_products, *base.readout_products(spec, h[-1]))


def decode(spec: Spec, p: Mapping[str, Array], scale: float) -> None:
    """Turn genes in W_in and U of each layer, in the readout and in h0 into parameters.

    W_in of the first layer is ``scale x`` over the inputs' range; that of others, and U, are ``scale x / sqrt(n)``.
    """
    for k in range(spec.layers):
        p[of_layer(spec, "W_in", k)][:] *= scale / (base.input_scale(spec) if k == 0 else math.sqrt(spec.neurons))
        p[of_layer(spec, "U", k)][:] *= scale / math.sqrt(spec.neurons)
    base.decode_readout(spec, p)
    base.decode_initial(p, names(spec, "h0"), base.activation_bound(spec))
