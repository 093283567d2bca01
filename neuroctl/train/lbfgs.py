"""L-BFGS on all sequences at once, by SciPy: for small networks and few sequences, to a tight minimum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import require
from neuroctl.train.by_data import DataTraining, Epoch
from neuroctl.train.coordinates import Coordinates
from neuroctl.train.optim import global_norm
from neuroctl.train.progress import Progress

Array = NDArray[Any]


class _Stop(Exception):
    """Ends the search: SciPy's callback has no other way in its older versions."""


class LBFGS:
    """A search by SciPy's L-BFGS-B, an iteration an epoch.

    R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, "A limited memory algorithm for bound constrained optimization", SIAM Journal
    on Scientific Computing 16 (1995).

    Args:
        training: data, loss, bounds and limits.
        on_epoch: called after each iteration.

    Raises:
        BackendUnavailable: SciPy is missing.

    """

    def __init__(self, training: DataTraining, on_epoch: Callable[[Progress], None]):
        self._minimize = require("scipy.optimize", "train").minimize
        self._training, self._on_epoch = training, on_epoch
        self._coordinates = Coordinates(training.spec, stretch=1.0)  # with 10 its curvatures differ by 100
        self._calls, self._last = 0, (0.0, 0.0)

    def run(self, progress: Progress) -> tuple[Progress, str]:
        """Return the last progress, and why it is the last.

        Raises:
            DivergedError: outputs, the loss or a gradient is not finite.

        """
        self.progress, training = progress, self._training
        low, high = (self._coordinates.of(x.astype(np.float64)) for x in (training.bounds.low, training.bounds.high))
        options = {"maxiter": training.settings.epochs, "maxfun": 20 * training.settings.epochs}
        try:
            found = self._minimize(
                self._loss, self._coordinates.of(progress.theta.astype(np.float64)), jac=True, method="L-BFGS-B",
                options=options, bounds=list(zip(low, high, strict=True)), callback=self._iteration,
            )  # fmt: skip
        except _Stop:
            return self.progress, str(training.over(self.progress))
        over = training.over(self.progress)
        return self.progress, over or " ".join(str(found.message).split()).lower()

    def _loss(self, x: Array) -> tuple[float, Array]:
        theta = self._theta(x)
        epoch = len(self.progress.rows) + 1
        self._calls += 1
        loss, gradient = self._training.checked(self._training.gradient, theta, self._training.data, epoch, self._calls)
        gradient = self._coordinates.gradient(theta, gradient)
        self._last = loss, global_norm(gradient)
        return loss, gradient.astype(np.float64)

    def _theta(self, x: Array) -> Array:
        training = self._training
        return training.bounds(self._coordinates.theta(np.asarray(x)).astype(self.progress.theta.dtype))

    def _iteration(self, x: Array) -> None:
        training = self._training
        theta = self._theta(x)
        number, (loss, norm) = len(self.progress.rows) + 1, self._last
        row = Epoch(number, self._calls, loss, training.validated(theta, number, self._calls), norm, np.nan)
        self.progress = self.progress.after(theta, self.progress.state, row)
        self._on_epoch(self.progress)
        if training.over(self.progress) is not None:
            raise _Stop
