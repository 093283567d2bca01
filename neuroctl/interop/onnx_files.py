"""Reads ONNX files, with weights in them or in a file beside them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from neuroctl.checks import shown
from neuroctl.errors import InteropError

MAX_BYTES: Final = 256 << 20
_ALLOWED: Final = "all in a file in the same folder, or torch.onnx.export(..., external_data=False)"


def read_model(onnx: Any, path: Path) -> Any:
    """Read a model, and weights that it has in a file in the same folder; no other file is opened.

    Raises:
        InteropError: it is no ONNX file, too large, or its weights are not there.

    """
    if not path.is_file():
        raise InteropError(f"source: {shown(os.fspath(path))} is no file; allowed: an ONNX file")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise InteropError(f"source: {path.name} has {size} bytes; allowed: up to {MAX_BYTES}")
    try:
        model = onnx.load(path, load_external_data=False)
        for tensor in _tensors(model):
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                size += _read_beside(onnx, tensor, path, MAX_BYTES - size)
        onnx.checker.check_model(model)
        if not model.graph.output:
            raise InteropError(f"source: {path.name}: no output; allowed: an observation and outputs")
    except InteropError:
        raise
    except Exception as error:  # of many kinds: protobuf's, and onnx's
        reason = " ".join(str(error).split())
        raise InteropError(f"source: {path.name}: {reason[:160]}; allowed: an ONNX file") from error
    return model


def _tensors(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _read_beside(onnx: Any, tensor: Any, path: Path, most: int) -> int:
    """Put a tensor's bytes into it, which are in a file in the same folder, and return their number.

    Raises:
        InteropError: there is no such file, it is elsewhere or a link, it is shorter, or there are more than ``most``.

    """
    fields = {entry.key: entry.value for entry in tensor.external_data}
    name = fields.get("location", "")
    place = path.parent / name
    if name in ("", ".", "..") or Path(name).name != name or place.is_symlink() or not place.is_file():
        raise InteropError(f"{tensor.name}: no data in {shown(name)} beside {path.name}; allowed: {_ALLOWED}")
    size: int = math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    first, length = int(fields.get("offset", 0)), int(fields.get("length", size))
    if first < 0 or length != size or first + size > place.stat().st_size or size > most:
        got = f"{length} bytes from {first} on in {name}, for {size}"
        raise InteropError(f"{tensor.name}: {got}; allowed: {_ALLOWED}, of up to {MAX_BYTES} bytes")
    with place.open("rb") as file:
        file.seek(first)
        tensor.raw_data = file.read(size)
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.DEFAULT
    return size
