"""The command `vigamma similar`, from a checkout: `python scripts/similar.py --help`."""

from vigamma.command_line.start import start

if __name__ == "__main__":
    start("similar", as_script=True)
