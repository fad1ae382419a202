"""A connection to Redis that fails fast, comes back by itself and never shows its password."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from groundstream.operators.errors import ConfigError

#: Seconds before a server counts as away; the URL's own `socket_timeout=` goes before.
TIMEOUT_S = 1.0


def connect(url: str) -> redis.Redis:
    """Return a client for `url`; it connects at its first command, not here.

    One command that meets a connection which died meanwhile is tried once more on a new one.

    Raises:
        ConfigError: `url` is no Redis URL, or asks for an option that redis-py does not have.
    """
    try:
        client = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 1, (redis.ConnectionError,)),
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        # Wrong options show only when a connection is built (which does not connect yet).
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except (ValueError, TypeError, redis.RedisError):
        # redis-py's own words may quote a part of the URL, and with it the password.
        raise ConfigError(
            "the Redis URL cannot be read; expected redis://USER:PASSWORD@HOST:PORT/DB or rediss://... for "
            "TLS, with special characters of the password percent-encoded, and only options of redis-py"
        ) from None
    return client


def place_of(client: redis.Redis) -> str:
    """Return host, port and database of `client`, without user and password."""
    options = client.connection_pool.connection_kwargs
    return f"Redis at {options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db', 0)}"


def reason_of(error: Exception) -> str:
    """Return why a command failed, in one line."""
    if isinstance(error, redis.TimeoutError):
        return "it does not answer in time"
    if isinstance(error, redis.AuthenticationError) and "HELLO" in str(error):
        return "it wants a password"
    return " ".join(str(error).split()) or type(error).__name__
