"""The generations of a study, appended to one file: the cost of a generation does not grow with their number.

A record is float64, little-endian: the number of genomes P, the row of ``history.csv`` and the optimizer's values,
``[P, 1 + measures]``. The checkpoint holds the length and the digest of all records up to its own generation: later
ones are overwritten, and changes to earlier ones are detected.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from neuroctl.errors import FileFormatError, StudyError
from neuroctl.io import atomic_write, output_file

COLUMNS: Final = (
    "generation",
    "evaluations",
    "episodes",
    "best",
    "median",
    "mean",
    "worst",
    "sigma",
    "validation",
    "best_validation",
    "elapsed_s",
)
_WORD: Final = np.dtype("<f8")


@dataclass(frozen=True)
class Generation:
    """A finished generation.

    Args:
        row: values in the order of ``COLUMNS``.
        told: float64 ``[P, 1 + measures]``, the values told to the optimizer.

    """

    row: list[float]
    told: NDArray[np.float64]

    def to_bytes(self) -> bytes:
        """Return the record."""
        words = [np.array([len(self.told), *self.row]), np.ravel(self.told)]
        return np.concatenate(words).astype(_WORD).tobytes()


class GenerationLog:
    """A file of records, of which the first ``length`` bytes are valid.

    Args:
        path: the file.
        width: number of values per genome, 1 + measures.

    """

    def __init__(self, path: Path, width: int):
        self._path, self._width = path, width
        self.length = 0
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        """SHA-256 of the valid records."""
        return self._hash.hexdigest()

    def read(self, length: int, digest: str) -> list[Generation]:
        """Return the generations of the first ``length`` bytes, which are the valid ones from then on.

        Raises:
            StudyError: the file is missing, shorter, or was changed.

        """
        try:
            with self._path.open("rb") as file:
                data = file.read(length)
        except OSError as error:
            raise StudyError(f"checkpoint: {self._path}: {error.strerror}") from None
        if len(data) != length or hashlib.sha256(data).hexdigest() != digest:
            raise StudyError(f"checkpoint: {self._path}: damaged; allowed: the records that the checkpoint counts")
        self._count(data)
        return self._split(np.frombuffer(data, _WORD).astype(np.float64))

    def _split(self, words: NDArray[np.float64]) -> list[Generation]:
        generations, place = [], 0
        while place < len(words):
            begin = place + 1 + len(COLUMNS)
            end = begin + int(words[place]) * self._width
            row = [float(word) for word in words[place + 1 : begin]]
            generations.append(Generation(row, words[begin:end].reshape(-1, self._width)))
            place = end
        return generations

    def append(self, generation: Generation) -> None:
        """Write a record after the valid ones, and wait until it is on the disk.

        Raises:
            FileFormatError: it cannot be written; the earlier records are intact.

        """
        record = generation.to_bytes()
        try:
            with open(output_file(self._path), "r+b" if self.length else "wb") as file:
                file.seek(self.length)
                file.write(record)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise FileFormatError(f"{self._path}: cannot be written: {error.strerror or error}") from error
        self._count(record)

    def replace(self, generations: Iterable[Generation]) -> None:
        """Rewrite the whole file.

        Raises:
            FileFormatError: it cannot be written.

        """
        data = b"".join(generation.to_bytes() for generation in generations)
        atomic_write(self._path, data)
        self.length, self._hash = 0, hashlib.sha256()
        self._count(data)

    def _count(self, data: bytes) -> None:
        self.length += len(data)
        self._hash.update(data)
