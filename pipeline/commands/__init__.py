"""The commands of the command line, one file each: their parameters, what they do, what they print.

`cli.py` registers them; everything heavy is imported inside, so that `--help` answers at once.
"""
