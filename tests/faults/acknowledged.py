"""`train.py` or `sample.py`, but every step is noted in a file as soon as it has been saved."""

import os
import resource
import runpy
import sys
from pathlib import Path

from tests.command import ROOT
from vigamma.storage import checkpointing

MOST_BYTES = "TESTS_MOST_BYTES_OF_A_FILE"


def main() -> None:
    script, noted = sys.argv.pop(1), Path(sys.argv.pop(1))
    if most_bytes := os.environ.get(MOST_BYTES):
        resource.setrlimit(resource.RLIMIT_FSIZE, 2 * (int(most_bytes),))
    save = checkpointing.Checkpointer.save

    def save_and_note(self, step, *args, **kwargs):
        save(self, step, *args, **kwargs)
        with noted.open("a") as file:
            file.write(f"{step}\n")

    checkpointing.Checkpointer.save = save_and_note
    sys.path.insert(0, str(ROOT / "scripts"))
    sys.argv[0] = str(ROOT / "scripts" / script)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
