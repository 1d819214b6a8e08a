"""The command `vigamma topics`, from a checkout: `python scripts/topics.py --help`."""

from vigamma.command_line.start import start

if __name__ == "__main__":
    start("topics", as_script=True)
