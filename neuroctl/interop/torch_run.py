"""Runs a torch module in float64, from a state of 0."""

from __future__ import annotations

import copy
from typing import Any

from numpy.typing import NDArray

from neuroctl.errors import InteropError
from neuroctl.interop.proof import Run

Array = NDArray[Any]


def module_run(torch: Any, module: Any) -> Run:
    """Return what runs a copy of a module in float64, from a state of 0."""
    twin = twin_of(torch, module)
    first = any(getattr(part, "batch_first", False) for part in twin.modules())

    def run(u: Array) -> Array:
        rows = torch.from_numpy(u)[None] if first else torch.from_numpy(u)[:, None]
        with torch.no_grad():
            try:
                outputs = _called(torch, twin, rows, first)
            except InteropError:
                raise
            except Exception as error:  # the user's module may raise anything
                text = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
                raise InteropError(
                    f"source: with inputs {tuple(rows.shape)} it raised {text}; allowed: a module that takes them, or "
                    "its state dict"
                ) from error
        if outputs.layout != torch.strided or outputs.is_complex() or outputs.numel() % len(u):
            got = f"{outputs.dtype} of shape {tuple(outputs.shape)}".removeprefix("torch.")
            raise InteropError(f"source: outputs {got}; allowed: real numbers of each of {len(u)} steps")
        numbers: Array = outputs.reshape(len(u), -1).numpy()
        return numbers

    return run


def twin_of(torch: Any, module: Any) -> Any:
    """Return a copy of a module in float64, on the CPU, as it is when it is used.

    Raises:
        InteropError: torch cannot copy it.

    """
    try:
        return copy.deepcopy(module).to("cpu", torch.float64).eval()
    except Exception as error:  # old weight norms, lazy and meta modules, a user's own
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise InteropError(f"source: no copy of it, {reason}; allowed: its state dict") from error


def _called(torch: Any, module: Any, rows: Any, first: bool) -> Any:
    """Call a module; of a tuple, outputs are the first part. Cells are called step by step."""
    if isinstance(module, torch.nn.RNNCellBase):
        state, states = None, []
        for row in rows.transpose(0, 1) if first else rows:
            state = module(row, state)
            states.append(state)
        return torch.stack(states)
    plain = type(module).forward is torch.nn.Sequential.forward and not module._forward_hooks
    if isinstance(module, torch.nn.Sequential) and plain and not module._forward_pre_hooks:
        for part in module:
            rows = _called(torch, part, rows, first)
        return rows
    outputs = module(rows)
    while isinstance(outputs, (tuple, list)):
        outputs = outputs[0]
    if not isinstance(outputs, torch.Tensor):
        raise InteropError(
            f"source: its call returned {type(outputs).__name__}; allowed: outputs, or a tuple of them first"
        )
    return outputs
