"""The command `vigamma evaluate`, from a checkout: `python scripts/evaluate.py --help`."""

from vigamma.command_line.start import start

if __name__ == "__main__":
    start("evaluate", as_script=True)
