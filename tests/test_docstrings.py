"""Examples in the docstrings of public classes: each class has one, and each runs as it stands.

``port`` and ``q`` are a board, here a simulated one, and the controller that it runs; files go to a folder of the test.
"""

import doctest
import inspect
import sys

import numpy as np
import pytest

import neuroctl as nc
from neuroctl import backends, evolve, firmware_export, hopfield, io, link, quant, realtime, sims, spikes, train
from neuroctl.backends import base
from tests.link.helpers import controller
from tests.link.plain_board import PlainBoard, served

PACKAGES = (nc, backends, base, evolve, firmware_export, hopfield, io, link, quant, realtime, sims, spikes, train)


def own_names(module):
    return [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]


def public_classes():
    """Classes that users reach; those of errors and warnings say in their names what they are for."""
    for package in PACKAGES:
        for name in getattr(package, "__all__", None) or own_names(package):
            value = getattr(package, name)
            if inspect.isclass(value) and not issubclass(value, BaseException) and not name.startswith("_"):
                yield value


CLASSES = sorted(set(public_classes()), key=lambda each: each.__qualname__)


@pytest.fixture
def board():
    q = controller()
    with served(PlainBoard(q)) as host:
        yield {"port": host.port, "q": q}


@pytest.mark.parametrize("public", CLASSES, ids=lambda each: each.__name__)
def test_each_public_class_has_an_example_that_runs(public, board, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"nc": nc, "np": np} | vars(sys.modules[public.__module__])
    if "Link(port, q)" in public.__doc__:
        names |= board
    (example,) = doctest.DocTestFinder(recurse=False).find(public, public.__name__, globs=names)
    assert example.examples, "a docstring without an example"
    said = []
    doctest.DocTestRunner().run(example, out=said.append)
    assert not said, "".join(said)
