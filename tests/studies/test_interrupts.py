"""Ctrl-C and SIGTERM wait where two files belong together, and reach what waits for slow code."""

import signal

import pytest

from neuroctl.studies.interrupts import Aside, Interrupts


def test_a_signal_waits_for_the_end_of_a_shield():
    done = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts, interrupts.shield():
        signal.raise_signal(signal.SIGTERM)
        done.append("the rest of the block")
    assert done
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_second_signal_does_not_wait():
    done = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts, interrupts.shield():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("never")
    assert not done


def test_an_error_in_a_shield_goes_first():
    with pytest.raises(ZeroDivisionError), Interrupts() as interrupts, interrupts.shield():
        signal.raise_signal(signal.SIGINT)
        raise ZeroDivisionError


def test_handlers_of_the_caller_are_kept():
    numbers = []
    before = signal.signal(signal.SIGTERM, lambda *_: numbers.append("mine"))
    try:
        with Interrupts():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert numbers == ["mine"]


def test_what_is_called_aside_raises_here():
    aside = Aside()
    assert aside(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        aside(divmod, 1, 0)
    aside.close()
