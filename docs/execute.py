"""Executes notebooks in place: `python docs/execute.py docs/*.ipynb`."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

for path in map(Path, sys.argv[1:]):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, record_timing=False).execute(cwd=path.parent)
    notebook.metadata["language_info"] = {"name": "python"}  # without the versions of this machine
    nbformat.write(notebook, path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
