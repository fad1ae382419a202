"""What each command of `groundstream` does, one module a command; `cli` registers them.

`run` is light until the run begins, since `--help` builds its flags; the others are imported when they run.
"""
