"""Stop signals: the first sets a flag, an echo is ignored, a later one aborts; handlers are put back."""

import os
import signal
import threading
import time

import pytest

from wdstream.train import __main__ as train_command
from wdstream.train.launch import signals
from wdstream.train.launch.signals import StopSignals


@pytest.mark.parametrize("number", StopSignals.SIGNALS)
def test_first_signal_sets_the_flag(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "ECHO_SECONDS", 300.0)  # the echo is one however long this takes
    before = signal.getsignal(number)
    with StopSignals() as stop:
        was_requested = stop.is_requested
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # the launcher's echo
        time.sleep(0.01)
        assert (was_requested, stop.is_requested) == (False, True)
    assert signal.getsignal(number) == before


def test_nohup_keeps_the_end_of_a_terminal_from_stopping_a_run() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
            assert not stop.is_requested and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_later_signal_aborts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "ECHO_SECONDS", 0.05)
    with StopSignals(), pytest.raises(KeyboardInterrupt, match="SIGINT again"):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


def test_the_end_of_the_launcher_is_no_second_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """One Ctrl-C ends the launcher as well; on a busy machine that takes longer than an echo may."""
    monkeypatch.setattr(signals, "ECHO_SECONDS", 0.0)
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        monkeypatch.setattr(os, "getppid", lambda: 1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert stop.is_requested
        with pytest.raises(KeyboardInterrupt, match="SIGTERM again"):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)


def test_a_later_signal_counts_where_what_is_cleaned_up_then_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def training(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        finally:
            threading.Lock().release()  # as `threading` may do after an interrupt

    monkeypatch.setattr(signals, "ECHO_SECONDS", 0.0)
    monkeypatch.setattr(train_command, "run_training", training)
    assert train_command.main(["cfg.yaml"]) == 130
    assert capsys.readouterr().err == "wdstream.train: SIGINT again: stopping at once, without a checkpoint\n"
