"""A stream's own video, never encoded again, and video that is drawn and encoded here.

`segment` is a closed group of pictures and its packets, `tap` cuts what a source reads into segments and
holds the last ones (`Ring`), `joined_file` strings them together. `annotate` draws on pictures, `writer`
encodes them. `containers` says which file takes which codec. What needs OpenCV or PyAV is imported from its
module.
"""

from groundstream.operators.video.containers import CLOCK, MP4_CODECS, suffix_for

__all__ = ["CLOCK", "MP4_CODECS", "suffix_for"]
