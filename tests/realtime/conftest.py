import pytest

from neuroctl.realtime import clear_signal


@pytest.fixture(autouse=True)
def _after_signals():
    """Let the next test run loops though this one may have sent a signal."""
    yield
    clear_signal()
