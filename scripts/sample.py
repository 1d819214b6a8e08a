"""The command `vigamma sample`, from a checkout: `python scripts/sample.py --help`."""

from vigamma.command_line.start import start

if __name__ == "__main__":
    start("sample", as_script=True)
