"""Images and messages into one Redis; no command takes longer than a connection and one time-out."""

import time
from collections.abc import Mapping
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from siwatsystem.actions.jobs import StoredJob
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import ActionFailed, TargetUnavailable

# What a server that works says while it cannot take anything: full, loading, a replica, no disk.
_PASSING_WORDS = ("OOM", "LOADING", "READONLY", "MISCONF", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "NOREPLICAS")


class RedisSink:
    """Carries out `redis_save_image` and `redis_publish`; used by one thread."""

    def __init__(self, config: Mapping[str, Any], settings: OutboxSettings) -> None:
        self._client = redis.Redis(
            host=config["host"],
            port=config["port"],
            db=config.get("db") or 0,
            username=config.get("username"),
            password=config.get("password"),
            socket_connect_timeout=settings.command_timeout_sec,
            socket_timeout=settings.command_timeout_sec,
            socket_keepalive=True,
            # Once more on a connection that has gone stale; a time-out is not repeated.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )

    def deliver(self, job: StoredJob) -> None:
        """Store the image or publish the message. Raises TargetUnavailable, ActionFailed."""
        try:
            if job.kind == "redis_publish":
                self._client.publish(job.payload["channel"], job.payload["message"])
            else:
                self._save(job)
        except redis.ResponseError as error:
            words = str(error)
            raise (TargetUnavailable if words.startswith(_PASSING_WORDS) else ActionFailed)(words) from None
        except (redis.RedisError, OSError) as error:
            raise TargetUnavailable(str(error) or type(error).__name__) from None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def cut(self) -> None:
        """Shut the connection down under a call that hangs."""
        self._client.connection_pool.disconnect()

    def _save(self, job: StoredJob) -> None:
        millis = None
        if job.expires_at is not None:
            millis = max(1, int((job.expires_at - time.time()) * 1000))
        self._client.set(job.payload["key"], job.blob or b"", px=millis)
