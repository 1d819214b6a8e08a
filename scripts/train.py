"""The command `vigamma train`, from a checkout: `python scripts/train.py --help`."""

from vigamma.command_line.start import start

if __name__ == "__main__":
    start("train", as_script=True)
