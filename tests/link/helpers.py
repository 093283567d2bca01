"""Controllers and links for the tests."""

from contextlib import contextmanager

import pytest

import neuroctl as nc
from neuroctl.errors import ModelError
from neuroctl.link import Link
from tests.link.plain_board import PlainBoard

CELLS = {
    "ctrnn": {},
    "indrnn": {"layers": 2},
    "elman": {},
    "jordan": {"context_decay": 0.9},
    "hopfield": {"settle_steps": 20},
    "gru": {},
    "cfc": {"backbone": (5,)},
}


def controller(cell="ctrnn", seed=3, dt_s=0.01, **fields):
    """A quantized controller with random parameters, 2 inputs and 1 output."""
    usual = {"outputs": 1, "input_limits": ((-2.0, 2.0),) * 2, "output_limits": ((-10.0, 10.0),)}
    spec = nc.Spec(cell=cell, inputs=2, neurons=6, dt_s=dt_s, **(usual | CELLS[cell] | fields))
    return nc.Controller(spec, seed=seed).quantize()


def linked(host, q, **options):
    """A link with short waits."""
    return Link(host.port, q, **({"timeout_s": 0.1, "hello_s": 1.0} | options))


@contextmanager
def linked_to_another(host, q, path):
    """A link for q whose board was unplugged, and one of another model plugged in: reconnecting refuses that."""
    host.unplug()
    host.open(path)
    with Link(str(path), q, timeout_s=0.1) as link:
        host.unplug()
        host.board = PlainBoard(controller(seed=9))
        host.open(path)
        with pytest.raises(ModelError):
            link.reconnect()
        yield link
