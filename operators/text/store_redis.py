"""Text features in Redis, shared by all processes and machines that know the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import redis

from groundstream.operators.text.stores import StoreError
from groundstream.operators.utils.redis import connect, place_of, reason_of

LIFE_S = 30 * 24 * 3600


class RedisStore:
    """A `TextStore` in Redis: one MGET to read, one pipeline of SET ... EX to write.

    Args:
        url: `redis://...` or `rediss://...`, as `operators.redis_link.connect` takes it.
        life_s: seconds after which the server forgets a value.
    """

    def __init__(self, url: str, life_s: int = LIFE_S) -> None:
        self._client = connect(url)
        self._life_s = life_s
        self.place = place_of(self._client)

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the values that are there, in one round trip."""
        if not keys:
            return {}
        try:
            values = cast("list[bytes | None]", self._client.mget(keys))
        except (redis.RedisError, OSError) as error:
            raise StoreError(f"{self.place}: {reason_of(error)}") from None
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}

    def put_many(self, values: Mapping[str, bytes]) -> None:
        """Keep `values` for `life_s` seconds, in one round trip."""
        pipeline = self._client.pipeline(transaction=False)
        for key, value in values.items():
            pipeline.set(key, value, ex=self._life_s)  # redis-py calls SETEX deprecated
        try:
            pipeline.execute()
        except (redis.RedisError, OSError) as error:
            raise StoreError(f"{self.place}: {reason_of(error)}") from None

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()
