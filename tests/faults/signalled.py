"""`scripts/train.py`, sent a signal by itself at the beginning of a phase of the run."""

import os
import runpy
import sys
import time

from tests.command import ROOT
from vigamma.figures import posteriors as plotting
from vigamma.inference.train_state import TrainState
from vigamma.runs import train
from vigamma.runs.conjugate import ConjugateFit
from vigamma.runs.factors import FactorFit
from vigamma.storage import checkpointing

PHASES = {
    "data": [(train, "load_fit")],
    "compilation": [(TrainState, "compile")],
    "training": [(train._Run, "_at")],
    "save": [(checkpointing, "commit")],
    "evaluation": [(ConjugateFit, "report"), (FactorFit, "report")],
    "figures": [(plotting, "save")],
}


def main() -> None:
    phase, signum, times = sys.argv.pop(1), int(sys.argv.pop(1)), int(sys.argv.pop(1))
    for owner, name in PHASES[phase]:
        setattr(owner, name, _after_signals(getattr(owner, name), signum, times))
    sys.path.insert(0, str(ROOT / "scripts"))
    sys.argv[0] = str(ROOT / "scripts" / "train.py")
    runpy.run_path(sys.argv[0], run_name="__main__")


def _after_signals(function, signum: int, times: int):
    def signalled(*args, **kwargs):
        print(f"signalled at {time.time()}", flush=True)
        _send(signum, times)
        return function(*args, **kwargs)

    return signalled


def _send(signum: int, times: int) -> None:
    try:
        os.kill(os.getpid(), signum)  # which may raise here
    finally:
        if times > 1:
            _send(signum, times - 1)


if __name__ == "__main__":
    main()
