"""The command `vigamma export`, from a checkout: `python scripts/export.py --help`."""

from vigamma.command_line.start import start

if __name__ == "__main__":
    start("export", as_script=True)
