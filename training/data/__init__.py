"""Tables of pictures and words, and what fetches and packs the pictures: `python -m training.data.fetch`."""

from pathlib import Path

#: the folder of the tables.
DATA = Path(__file__).parent
