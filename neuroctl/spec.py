"""Spec: the frozen description of a controller's topology and time base."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import Field, dataclass, fields
from types import MappingProxyType
from typing import Any, Final

from neuroctl.checks import ABOVE_0, FINITE, integer, number, one_of, real, shown
from neuroctl.errors import SpecError
from neuroctl.signal_names import names_of

INTEGRATORS: Final = ("euler", "heun", "rk4", "etd1")
OUTPUT_ACTIVATIONS: Final = ("identity", "tanh", "logistic", "relu")
DENSE_ACTIVATIONS: Final = ("relu", "tanh", "logistic")
UPDATES: Final = ("asynchronous", "synchronous", "continuous")
INITIAL_STATES: Final = ("zeros", "learned")
MODES: Final = ("default", "no_gate")
DTYPES: Final = ("float32", "float64")
MAX_SIZE: Final = 4096
_MAX_HORIZON: Final = (1 << 31) - 1
_BELOW_1: Final = math.nextafter(1.0, 0.0)

Limits = tuple[tuple[float, float], ...]
Mask = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class _Rules:
    """The values that a cell allows; the first activation and the first readout are its defaults.

    ``options`` are the fields of this cell among those that only some cells have; other cells keep their defaults.
    """

    activations: tuple[str, ...]
    readouts: tuple[str, ...] = ("affine", "identity")
    integrators: tuple[str, ...] = ("euler",)
    options: tuple[str, ...] = ()


_RULES: Final[Mapping[str, _Rules]] = MappingProxyType(
    {
        "ctrnn": _Rules(activations=("logistic",), integrators=INTEGRATORS, options=("mask", "initial_state")),
        "indrnn": _Rules(
            activations=("relu", "tanh", "hard_tanh"), options=("layers", "residual", "horizon", "initial_state")
        ),
        "elman": _Rules(activations=("tanh", "logistic", "relu"), options=("layers", "initial_state")),
        "hopfield": _Rules(
            activations=("tanh",),
            readouts=("last", "identity"),
            options=("update", "settle_steps", "clamp", "order_seed"),
        ),
        "jordan": _Rules(
            activations=("tanh", "logistic", "relu"), readouts=("affine",), options=("context_decay", "initial_state")
        ),
        "gru": _Rules(activations=("tanh",), options=("layers", "initial_state")),
        "cfc": _Rules(activations=("tanh", "relu"), options=("backbone", "mode", "initial_state")),
    }
)
CELL_NAMES: Final = tuple(_RULES)
_OPTIONS: Final = (
    "mask",
    "layers",
    "residual",
    "horizon",
    "context_decay",
    "update",
    "settle_steps",
    "clamp",
    "order_seed",
    "initial_state",
    "backbone",
    "mode",
)
_OMITTED: Final = (
    "initial_state", "encoder", "head", "dense_activation", "backbone", "mode", "input_names", "output_names",
)  # fmt: skip
"""Fields that files of earlier versions do not have: ``to_dict`` leaves them out at their defaults."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One controller, without its parameters. Frozen and hashable; every field is checked on construction.

    Args:
        cell: kind of network; one of ``CELL_NAMES``.
        inputs: number of inputs, 1 to 4096.
        neurons: number of neurons, 1 to 4096.
        outputs: number of outputs, 1 to 4096; equal to ``neurons`` with ``readout="identity"``.
        dt_s: time between two steps, in seconds, greater than 0.
        integrator: method for the CTRNN's differential equation: ``euler``, ``heun``, ``rk4`` or ``etd1``.
        activation: the neurons' function, of a CfC the backbone's; None: the cell's default, and reads back as its
            name.
        readout: ``"affine"`` gives ``W_out s + b_out``, ``"identity"`` the neurons' own outputs; None: the cell's
            default, and reads back as its name. Hopfield: ``"last"`` gives the last ``outputs`` neurons' outputs.
        output_activation: applied to the affine readout, before the limits; one of ``OUTPUT_ACTIVATIONS``.
        mask: sparse wiring, rows ``[to][from]`` of 0 and 1 for the recurrent matrix; None: all to all.
        layers: IndRNN, Elman, GRU: number of layers, each of ``neurons``; one takes the states of the one before it of
            the same step, and the last one's are read out.
        residual: IndRNN: add each layer's input to its output, from the second layer on.
        horizon: IndRNN: steps T of the limit |u| <= 2^(1/T) on recurrent weights; None for no limit.
        context_decay: Jordan: alpha of the context s_t = alpha s_(t-1) + y_(t-1), from 0 to less than 1.
        update: Hopfield: ``"asynchronous"``, ``"synchronous"`` or ``"continuous"``.
        settle_steps: Hopfield: largest number of sweeps over all neurons in one control step.
        clamp: Hopfield: hold the observed bits while settling; False: use them as the start only.
        order_seed: Hopfield: seed of the order of asynchronous updates, an integer >= 0.
        encoder: sizes of dense layers between the inputs and the recurrent network; () for none.
        head: sizes of dense layers between the recurrent network and the readout; () for none.
        dense_activation: of all these layers; one of ``DENSE_ACTIVATIONS``.
        dtype: ``"float32"`` (what boards run) or ``"float64"`` (for science and conformance).
        input_limits: (low, high) of each input in physical units, for scaling and clipping in fixed point. Optional.
        scale_inputs: map inputs from their limits to [-1, 1] for the network, instead of physical units.
        output_limits: (low, high) of each output in physical units; outputs are clipped to it. Optional.
        initial_state: the network's state after a reset: ``"zeros"``, or ``"learned"``: a block of parameters, such as
            ``h0``, that is trained, evolved and exported like the others. Any cell but Hopfield.
        backbone: CfC: sizes of layers that take inputs and state, and give what the neurons take; () for none.
        mode: CfC: ``"default"`` mixes two functions by a gate, ``"no_gate"`` adds the gated one to the other.
        input_names: name of each input, with its unit in brackets, such as ``"pole angle [rad]"``; () for none. C has
            an ``enum`` of them, and what was made for inputs of other names, or in another order, is refused.
        output_names: the same of each output.

    Raises:
        SpecError: a field is of the wrong type, unknown or out of range.

    Example:
        >>> spec = Spec(cell="ctrnn", inputs=2, neurons=8, outputs=1, dt_s=0.02, output_limits=((-10, 10),))
        >>> spec.summary()
        'ctrnn: 2 inputs, 8 neurons, 1 output, dt_s 0.02'

    """

    cell: str
    inputs: int
    neurons: int
    outputs: int
    dt_s: float
    integrator: str = "euler"
    activation: str | None = None
    readout: str | None = None
    output_activation: str = "identity"
    mask: Mask | None = None
    layers: int = 1
    residual: bool = False
    horizon: int | None = None
    context_decay: float = 0.0
    update: str = "asynchronous"
    settle_steps: int = 100
    clamp: bool = True
    order_seed: int = 0
    encoder: tuple[int, ...] = ()
    head: tuple[int, ...] = ()
    dense_activation: str = "relu"
    dtype: str = "float32"
    input_limits: Limits | None = None
    scale_inputs: bool = False
    output_limits: Limits | None = None
    initial_state: str = "zeros"
    backbone: tuple[int, ...] = ()
    mode: str = "default"
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check every field; limits given as lists become tuples of floats."""
        one_of("cell", self.cell, CELL_NAMES, error=SpecError)
        self._take_integers(("inputs", 1, MAX_SIZE), ("neurons", 1, MAX_SIZE), ("outputs", 1, MAX_SIZE))
        dt_s = number("dt_s", self.dt_s, ABOVE_0, FINITE, "seconds, finite and greater than 0", error=SpecError)
        object.__setattr__(self, "dt_s", dt_s)
        rules = _RULES[self.cell]
        one_of("integrator", self.integrator, rules.integrators, error=SpecError)
        object.__setattr__(self, "activation", rules.activations[0] if self.activation is None else self.activation)
        one_of("activation", self.activation, rules.activations, error=SpecError)
        one_of("output_activation", self.output_activation, OUTPUT_ACTIVATIONS, error=SpecError)
        object.__setattr__(self, "readout", rules.readouts[0] if self.readout is None else self.readout)
        self._check_options(rules.options)
        self._check_dense()
        self._check_cfc()
        one_of("readout", self.readout, rules.readouts, error=SpecError)
        one_of("dtype", self.dtype, DTYPES, error=SpecError)
        object.__setattr__(self, "input_limits", _check_limits("input_limits", self.input_limits, self.inputs))
        object.__setattr__(self, "output_limits", _check_limits("output_limits", self.output_limits, self.outputs))
        _check_scale(self.scale_inputs, self.input_limits, self.dtype)
        object.__setattr__(self, "input_names", names_of("input_names", self.input_names, self.inputs))
        object.__setattr__(self, "output_names", names_of("output_names", self.output_names, self.outputs))
        if self.readout != "affine" and self.output_activation != "identity":
            got = self.output_activation
            raise SpecError(f"output_activation: {got!r}; allowed with readout {self.readout!r}: identity")
        if self.readout == "identity" and self.outputs != self.neurons:
            raise SpecError(f"outputs: {self.outputs}; allowed with readout 'identity': {self.neurons}")
        if self.cell == "hopfield":
            for name in ("inputs", "outputs"):
                if getattr(self, name) > self.neurons:
                    raise SpecError(f"{name}: {getattr(self, name)}; allowed for cell 'hopfield': 1 to {self.neurons}")

    def _take_integers(self, *ranges: tuple[str, int, int | None]) -> None:
        """Check integers, and convert them to Python's own, for JSON."""
        for name, low, high in ranges:
            object.__setattr__(self, name, integer(name, getattr(self, name), low, high, error=SpecError))

    def _check_options(self, allowed: tuple[str, ...]) -> None:
        """Check the fields that belong to some cells only."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _OPTIONS and field.name not in allowed and value != field.default:
                raise SpecError(f"{field.name}: {shown(value)}; allowed for cell {self.cell!r}: {field.default!r}")
        object.__setattr__(self, "mask", _check_mask(self.mask, self.neurons))
        self._take_integers(("layers", 1, MAX_SIZE), ("settle_steps", 1, MAX_SIZE), ("order_seed", 0, None))
        one_of("update", self.update, UPDATES, error=SpecError)
        one_of("initial_state", self.initial_state, INITIAL_STATES, error=SpecError)
        for name in ("residual", "clamp"):
            if not isinstance(getattr(self, name), bool):
                raise SpecError(f"{name}: {getattr(self, name)!r}; allowed: True or False")
        if self.horizon is not None:
            self._take_integers(("horizon", 1, _MAX_HORIZON))
        decay: object = self.context_decay
        plain = number("context_decay", decay, 0.0, _BELOW_1, "from 0 to less than 1", error=SpecError)
        if not isinstance(decay, (int, float)):  # Python's own stay as they are: a model's CRC is over its JSON
            object.__setattr__(self, "context_decay", plain)

    def _check_dense(self) -> None:
        """Check the dense layers; sizes given as a list become a tuple."""
        one_of("dense_activation", self.dense_activation, DENSE_ACTIVATIONS, error=SpecError)
        for name in ("encoder", "head"):
            self._take_sizes(name)
            if getattr(self, name) and self.cell == "hopfield":
                raise SpecError(f"{name}: {getattr(self, name)}; allowed for cell 'hopfield': ()")
        if self.head and self.readout != "affine":
            raise SpecError(f"head: {self.head}; allowed with readout {self.readout!r}: ()")
        if not self.dense and self.dense_activation != "relu":
            raise SpecError(f"dense_activation: {self.dense_activation!r}; allowed without encoder and head: 'relu'")

    def _take_sizes(self, name: str) -> None:
        """Check sizes of layers; those given as a list become a tuple."""
        sizes: Any = getattr(self, name)
        if isinstance(sizes, (str, Mapping, Set)) or not isinstance(sizes, Iterable):
            raise SpecError(f"{name}: {shown(sizes)}; allowed: sizes of layers, such as (16,)")
        whole = tuple(integer(f"{name}[{k}]", size, 1, MAX_SIZE, error=SpecError) for k, size in enumerate(sizes))
        object.__setattr__(self, name, whole)

    def _check_cfc(self) -> None:
        """Check the fields that only a CfC has."""
        self._take_sizes("backbone")
        one_of("mode", self.mode, MODES, error=SpecError)
        if self.cell == "cfc" and not self.backbone and self.activation != "tanh":
            raise SpecError(f"activation: {self.activation!r}; allowed for cell 'cfc' without a backbone: 'tanh'")

    @property
    def dense(self) -> bool:
        """Whether there are dense layers around the recurrent network."""
        return bool(self.encoder or self.head)

    def summary(self) -> str:
        """Return kind and sizes of the network and its time step in a few words."""
        counts = ((self.inputs, "input"), (self.neurons, "neuron"), (self.outputs, "output"))
        sizes = ", ".join(f"{count} {name}{'s' if count != 1 else ''}" for count, name in counts)
        sizes += f", {self.layers} layers" if self.layers > 1 else ""
        for name in ("encoder", "backbone", "head"):
            layers = getattr(self, name)
            sizes += f", {name} {'-'.join(map(str, layers))}" if layers else ""
        return f"{self.cell}: {sizes}, dt_s {self.dt_s:g}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types; ``from_dict`` is the inverse.

        Fields that earlier versions do not know are left out at their defaults.
        """
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self) if not self._omits(field)}

    def _omits(self, field: Field[Any]) -> bool:
        return field.name in _OMITTED and getattr(self, field.name) == field.default

    def used_fields(self) -> tuple[str, ...]:
        """Return the names of the fields that this kind of network uses; the others have their defaults."""
        rules = _RULES[self.cell]
        unused = {name for name in _OPTIONS if name not in rules.options}
        unused |= {"integrator"} if len(rules.integrators) == 1 else set()
        unused |= {"output_activation"} if "affine" not in rules.readouts else set()
        unused |= {"encoder", "head"} if self.cell == "hopfield" else set()
        return tuple(field.name for field in fields(self) if field.name not in unused and not self._omits(field))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Spec:
        """Build a Spec from ``to_dict``'s result.

        Raises:
            SpecError: a field is missing, unknown or bad.

        """
        if not isinstance(data, Mapping):
            raise SpecError(f"spec: {type(data).__name__}; allowed: a mapping of field names to values")
        known = {field.name for field in fields(cls)}
        required = {"cell", "inputs", "neurons", "outputs", "dt_s"}
        if unknown := sorted(set(map(str, data)) - known):
            raise SpecError(f"{unknown[0]}: unknown field of a spec; allowed: {', '.join(sorted(known))}")
        if missing := sorted(required - set(data)):
            raise SpecError(f"{missing[0]}: missing; a spec needs {', '.join(sorted(required))}")
        return cls(**data)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [list(entry) if isinstance(entry, tuple) else entry for entry in value]
    return value


def _check_mask(value: Iterable[Iterable[int]] | None, neurons: int) -> Mask | None:
    if value is None:
        return None
    allowed = f"allowed: {neurons} rows of {neurons} entries, 0 or 1"
    try:
        rows = [list(row) for row in value]
        # Before the conversion to int, which would turn 0.7 into 0.
        strange = [entry for row in rows for entry in row if entry not in (0, 1)]
    except (TypeError, ValueError):
        raise SpecError(f"mask: {type(value).__name__}; {allowed}") from None
    if strange:
        raise SpecError(f"mask: {shown(strange[0])}; {allowed}")
    shape = (len(rows), sorted({len(row) for row in rows}))
    if shape != (neurons, [neurons]):
        raise SpecError(f"mask: {shape[0]} rows of {shape[1]} entries; {allowed}")
    return tuple(tuple(int(entry) for entry in row) for row in rows)


def _check_scale(value: object, limits: Limits | None, dtype: str) -> None:
    """Refuse a map to [-1, 1] with an offset or gain beyond the dtype: each step would fault."""
    if not isinstance(value, bool) or (value and limits is None):
        raise SpecError(f"scale_inputs: {shown(value)}; allowed: False, or True with input_limits")
    exponent = {"float32": 126, "float64": 1022}[dtype]
    largest, smallest = math.ldexp(1.0, exponent), math.ldexp(1.0, -exponent)
    for index, (low, high) in enumerate(limits or () if value else ()):
        if max(-low, high) > largest or high - low < smallest:
            allowed = f"allowed with scale_inputs in {dtype}: up to {largest:.2g}, and {smallest:.2g} apart"
            raise SpecError(f"input_limits[{index}]: ({low}, {high}); {allowed}")


def _check_limits(name: str, value: Iterable[Iterable[float]] | None, count: int) -> Limits | None:
    if value is None:
        return None
    try:
        if isinstance(value, Set):
            raise TypeError("without an order")
        pairs = [(low, high) for low, high in value]
        limits = tuple((real(low), real(high)) for low, high in pairs)
    except (TypeError, ValueError):
        raise SpecError(
            f"{name}: {shown(value)}; allowed: one (low, high) pair of numbers for each of {count}, in order"
        ) from None
    if len(limits) != count:
        raise SpecError(f"{name}: {len(limits)} pairs; allowed: exactly {count}")
    for index, (low, high) in enumerate(limits):
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise SpecError(f"{name}[{index}]: {shown(pairs[index])}; allowed: finite numbers, low < high")
    return limits
