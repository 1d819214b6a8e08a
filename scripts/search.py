"""The command `vigamma search`, from a checkout: `python scripts/search.py --help`."""

from vigamma.command_line.start import start

if __name__ == "__main__":
    start("search", as_script=True)
