"""Keep other libraries' progress bars and warnings off the terminal while they load."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers and huggingface_hub inside the block, and put back what was set before."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    level, hub_bars, bars = logging.get_verbosity(), not are_progress_bars_disabled(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if hub_bars:
            enable_progress_bars()
        if bars:
            logging.enable_progress_bar()
