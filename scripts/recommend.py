"""The command `vigamma recommend`, from a checkout: `python scripts/recommend.py --help`."""

from vigamma.command_line.start import start

if __name__ == "__main__":
    start("recommend", as_script=True)
