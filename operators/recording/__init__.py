"""What is kept of a stream, and how it is found again.

`archive` (`StreamArchive`) is the one that a stream's runner holds: it feeds clips, recording and index,
and finishes at the start what a killed run left (`repair`). `writer` writes the continuous
recording into `files`, `budget` deletes the oldest. `index` is written beside and asked through
`index_reader`; `export` cuts clips out of a recording after the fact. (`archive` needs OpenCV and PyAV;
import from the modules.)
"""
