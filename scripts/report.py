"""The command `vigamma report`, from a checkout: `python scripts/report.py --help`."""

from vigamma.command_line.start import start

if __name__ == "__main__":
    start("report", as_script=True)
