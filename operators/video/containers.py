"""Which container takes which codec, and the clock that all files written here count in."""

from __future__ import annotations

from fractions import Fraction

#: One tick of MP4 files in seconds: divides the distances of 24, 25, 30, 50, 60 and 30000/1001 pictures a
#: second without rest, so that stamps of usual videos are exact.
CLOCK = Fraction(1, 90_000)
#: What browsers play in MP4. All else goes to Matroska, which takes everything: whoever finds a file called
#: `.mp4` may expect it to play anywhere.
MP4_CODECS = frozenset({"h264", "av1", "vp9"})


def suffix_for(codec: str) -> str:
    """Return the suffix of a file that holds `codec` (libav's name), not encoded again: `.mp4` or `.mkv`."""
    return ".mp4" if codec in MP4_CODECS else ".mkv"
