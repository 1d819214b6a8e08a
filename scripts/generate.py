"""The command `vigamma generate`, from a checkout: `python scripts/generate.py --help`."""

from vigamma.command_line.start import start

if __name__ == "__main__":
    start("generate", as_script=True)
