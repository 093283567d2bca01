"""The reports of ``verify``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mismatch:
    """The first word that differs.

    ``step`` counts from 0, ``word`` is a name such as ``"y[3]"``, ``got`` and ``expected`` are raw integers.

    Example:
        >>> Mismatch(step=7, word="y[3]", got=12, expected=13).word
        'y[3]'

    """

    step: int
    word: str
    got: int
    expected: int


@dataclass(frozen=True)
class Footprint:
    """Bytes of init and step on a core, without harness and self-test, and the instructions or cycles of a step.

    ``code``, ``const`` (tables) and the instructions are those of -O2; ``code_small`` is the code of -Os. ``ram`` is
    one state and all variables, ``stack`` the greatest depth of a step. The cost, in ``unit``s, is measured over some
    hundred steps.

    Example:
        >>> Footprint("cycles", 900.0, 850, 950, code=1024, code_small=800, const=256, ram=96, stack=64).code
        1024

    """

    unit: str
    cost_mean: float
    cost_min: int
    cost_max: int
    code: int
    code_small: int
    const: int
    ram: int
    stack: int


@dataclass(frozen=True)
class TargetReport:
    """The result on one target; ``problem`` is empty unless it was skipped or crashed.

    Example:
        >>> TargetReport("host", "cc", ran=True, steps=100, selftest=0).result
        'ok'

    """

    target: str
    tools: str
    ran: bool
    problem: str = ""
    steps: int = 0
    mismatches: int = 0
    first: Mismatch | None = None
    selftest: int | None = None
    footprint: Footprint | None = None

    @property
    def ok(self) -> bool:
        """Whether it ran, every bit agreed and the self-test passed."""
        return self.ran and not self.problem and self.mismatches == 0 and self.selftest == 0

    @property
    def result(self) -> str:
        """One line: ``ok``, or the failure."""
        if self.problem:
            return self.problem if self.ran else f"skipped: {self.problem}"
        if self.first is not None:
            first = self.first
            return f"differs: step {first.step}, {first.word} is {first.got}, not {first.expected}"
        return "ok" if self.ok else f"self-test failed at {self.selftest}"


@dataclass(frozen=True)
class VerifyReport:
    """The result of ``verify`` for a folder.

    Args:
        name: the controller's name.
        model_crc32: the controller's CRC-32, as in the header.
        seed: seed of the random inputs.
        targets: one entry per toolchain.
        notes: files that were edited since the export, are missing, or are not run: an alarm's header. They do not
            count as failures.

    Example:
        >>> import neuroctl as nc, firmware_export
        >>> spec = nc.Spec(cell="elman", inputs=1, neurons=2, outputs=1, dt_s=0.02, input_limits=((-1, 1),))
        >>> header = firmware_export.export(nc.Controller(spec).quantize(), "firmware", name="ctl")
        >>> firmware_export.verify(header.parent, steps=100, targets=["host"]).ok
        True

    """

    name: str
    model_crc32: int
    seed: int
    targets: tuple[TargetReport, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether at least one target ran, and none of those that ran found a difference."""
        ran = [target for target in self.targets if target.ran]
        return bool(ran) and all(target.ok for target in ran)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        data = dataclasses.asdict(self)
        for entry, target in zip(data["targets"], self.targets, strict=True):
            entry |= {"ok": target.ok, "result": target.result}
        return {"ok": self.ok, **data, "targets": list(data["targets"]), "notes": list(self.notes)}
