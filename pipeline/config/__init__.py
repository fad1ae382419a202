"""What a run is made of: the keys and their checks (`run`, `events`), files of them and what is wrong there
(`file`), the flags and keywords that name them (`flags`), and the page that lists them (`reference`).

Light: `--help` is made from it.
"""

from groundstream.pipeline.config.run import OutputConfig, RunConfig, StreamConfig, load_config, make_config

__all__ = ["OutputConfig", "RunConfig", "StreamConfig", "load_config", "make_config"]
