"""The root of all errors, and the one that models raise; the whole tree is drawn in `operators/errors.py`."""


class GroundstreamError(Exception):
    """Root of all errors that groundstream raises for things outside it."""

    exit_code = 1


class ModelError(GroundstreamError):
    """A model cannot be had, or does not fit what is asked of it."""

    exit_code = 4
