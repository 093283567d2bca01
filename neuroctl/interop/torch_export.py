"""Controllers as torch modules, to train on with torch's own tools, and back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from neuroctl.cells import initial_blocks, layout
from neuroctl.controller import Controller
from neuroctl.errors import require
from neuroctl.interop import steps
from neuroctl.interop.steps import check_float, states_of
from neuroctl.spec import Spec


def to_torch(controller: Controller) -> Any:
    """Return a controller as a ``torch.nn.Module`` with the same numbers, in its dtype.

    Its call takes ``obs [T, batch, inputs]`` and a state ``[batch, S]`` (None: reset), and returns actions
    ``[T, batch, outputs]`` and the state after. Each block of theta is a parameter, with ``_`` for a dot in its name; a
    CTRNN's masked weights stay 0. ``module.controller()`` returns the controller of its parameters as they are then.

    The module computes what the controller does with finite numbers, by rounding: it does not hold the last output
    where an input is NaN or Inf. Nothing keeps its parameters within the controller's bounds.

    Args:
        controller: of any cell but Hopfield.

    Raises:
        BackendUnavailable: torch is not installed.
        InteropError: the cell is not allowed, or the controller is one of integers.

    Example:
        >>> spec = nc.Spec(cell="ctrnn", inputs=2, neurons=4, outputs=1, dt_s=0.02)
        >>> module = nc.interop.to_torch(nc.Controller(spec))
        >>> actions, state = module(torch.zeros(100, 8, 2))
        >>> module.controller()
        <Controller ctrnn: 2 inputs, 4 neurons, 1 output, dt_s 0.02, 41 parameters, float32>

    """
    check_float(controller)
    states_of(controller.spec)  # or the cell is refused
    return _module(require("torch", "torch"))(controller)


@lru_cache(maxsize=1)
def _module(torch: Any) -> Any:
    """Return the class of modules; torch is imported when the first one is made."""
    kinds = {
        "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Exp": torch.exp, "Neg": torch.neg,
        "Tanh": torch.tanh, "Sigmoid": torch.sigmoid, "Relu": torch.relu, "Max": torch.maximum, "Min": torch.minimum,
    }  # fmt: skip

    class ControllerModule(torch.nn.Module):  # type: ignore[misc]
        """A controller's equations with torch's functions: ``steps.Operators`` whose values are tensors."""

        def __init__(self, controller: Controller):
            super().__init__()
            self.spec: Spec = controller.spec
            for name, values in controller.params.items():
                self.register_parameter(name.replace(".", "_"), torch.nn.Parameter(torch.tensor(np.array(values))))
            mask = None if self.spec.mask is None else torch.tensor(self.spec.mask, dtype=self.W.dtype)
            self.register_buffer("wiring", mask)

        def forward(self, obs: Any, state: Any = None) -> tuple[Any, Any]:
            if state is None:
                state = obs.new_zeros(obs.shape[1], sum(states_of(self.spec).values()))
                if learned := initial_blocks(self.spec).values():
                    state = state + self.joined([self.block(name) for name in learned])
            rows = []
            for row in obs:
                y, state = steps.step(self, row, state)
                rows.append(y)
            return torch.stack(rows), state

        def controller(self) -> Controller:
            """Return the controller of the parameters.

            Raises:
                LayoutError: a parameter is not finite or out of the controller's bounds.

            """
            theta = np.zeros(layout(self.spec).size)
            for name, values in layout(self.spec).views(theta).items():
                values[:] = self.block(name).detach().cpu().double().numpy()
            return Controller(self.spec, theta)

        def block(self, name: str) -> Any:
            values = getattr(self, name.replace(".", "_"))
            return values * self.wiring if name == "W" and self.wiring is not None else values

        def times(self, name: str, x: Any) -> Any:
            return x @ self.block(name).T

        def constant(self, values: Any) -> Any:
            like = next(self.parameters())
            return torch.as_tensor(values, dtype=like.dtype, device=like.device)

        def op(self, kind: str, *values: Any) -> Any:
            return kinds[kind](*values)

        def split(self, x: Any, sizes: Sequence[int]) -> Any:
            return torch.split(x, list(sizes), dim=-1)

        def joined(self, parts: Sequence[Any]) -> Any:
            return torch.cat(list(parts), dim=-1)

    return ControllerModule
