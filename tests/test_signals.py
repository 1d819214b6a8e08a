import gc
import os
import signal
import subprocess
import sys
import time

import pytest

from vigamma import Interrupted
from vigamma.runs.signals import StopSignals


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_noted_and_raised_where_it_is_asked_for(signum):
    before = signal.getsignal(signum)
    with StopSignals() as stop:
        stop.raise_if_requested("nothing came")
        os.kill(os.getpid(), signum)
        assert stop.requested == signum
        with pytest.raises(
            Interrupted, match=f"stopped by {signal.Signals(signum).name}: here"
        ) as error:
            stop.raise_if_requested("here")
        assert error.value.signum == signum
    assert signal.getsignal(signum) == before


def test_interruptible_work_ends_at_once():
    with StopSignals() as stop:
        with pytest.raises(Interrupted, match="here"), stop.interruptible("here"):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="again"), stop.interruptible("again"):
            pytest.fail("the signal was forgotten")


def test_a_signal_within_garbage_collection_is_not_lost(capsys):
    def interrupt(phase, info):
        gc.callbacks.remove(interrupt)
        os.kill(os.getpid(), signal.SIGINT)

    gc.collect()

    def work(stop):
        with stop.interruptible("here"):
            gc.callbacks.append(interrupt)
            gc.collect()
            assert stop.requested == signal.SIGINT
            time.sleep(10)
            pytest.fail("the signal was lost")

    with StopSignals() as stop, pytest.raises(Interrupted, match="here"):
        work(stop)
    assert capsys.readouterr().err == ""


def test_other_exceptions_of_finalizers_are_reported_as_before(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)

    def fail(phase, info):
        gc.callbacks.remove(fail)
        raise OSError("of a finalizer")

    with StopSignals():
        gc.callbacks.append(fail)
        gc.collect()
    assert [str(args.exc_value) for args in seen] == ["of a finalizer"]
    assert sys.unraisablehook == seen.append


def test_the_second_signal_leaves_at_once():
    program = (
        "import os, signal\n"
        "from vigamma.runs.signals import StopSignals\n"
        "with StopSignals():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('not reached')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "")
