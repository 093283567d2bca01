import gc

import pytest

from neuroctl.realtime import clear_signal


@pytest.fixture(autouse=True)
def _after_signals():
    """Let the next test run loops though this one may have sent a signal."""
    yield
    clear_signal()


@pytest.fixture
def thawed():
    """Undo the freeze with which a test run begins: a loop then makes its own."""
    gc.unfreeze()
    yield
    gc.freeze()
