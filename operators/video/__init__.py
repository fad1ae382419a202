"""A stream's own video, never encoded again, and video that is drawn and encoded here.

From a source's packets to groups of pictures: `tap` cuts them, `segment` is one, `ring` holds the last ones,
`mux` packs them, `joined_file` strings them together. `annotate` draws on pictures, `writer` encodes them.
What needs OpenCV or PyAV (`Annotator`, `PacketTap`, `VideoFile`, `JoinedFile`) is imported from its module.
"""

from groundstream.operators.video.containers import CLOCK, MP4_CODECS, suffix_for
from groundstream.operators.video.ring import Ring
from groundstream.operators.video.segment import Segment
from groundstream.operators.video.shape import Shape

__all__ = ["CLOCK", "MP4_CODECS", "Ring", "Segment", "Shape", "suffix_for"]
