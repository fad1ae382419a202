"""Single files of hub repositories, for what a conversion needs: checkpoints and BERT's vocabulary."""

from __future__ import annotations

from pathlib import Path

from groundstream.models.common.quiet import quiet
from groundstream.models.errors import ModelError

BERT = "google-bert/bert-base-uncased"


def fetch(repository: str, file_name: str) -> Path:
    """Return a file of a hub repository, from the hub's cache or downloaded.

    Raises:
        ModelError: it cannot be had.
    """
    from huggingface_hub import constants, snapshot_download

    try:
        with quiet():  # not hf_hub_download: without a network it tries for half a minute
            return Path(snapshot_download(repository, allow_patterns=[file_name])) / file_name
    except Exception as error:  # the hub's client raises its own, the transport's and the disk's errors
        raise ModelError(
            f"{file_name} of '{repository}' cannot be had ({type(error).__name__}): it is not in "
            f"{constants.HF_HUB_CACHE} and was not downloaded; on a machine with network run "
            f"`hf download {repository} {file_name}`"
        ) from error
