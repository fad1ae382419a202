"""Find things in live video by saying what they are."""

__all__: list[str] = []
__version__ = "0.1.0"
