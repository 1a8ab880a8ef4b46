"""Move messages that came another way to the queue of their concurrency id: publish, then acknowledge."""

from __future__ import annotations

import logging
from typing import Any

from ..exceptions import InvalidOption
from ..families import HEADER
from ..policy import policy_of
from ..producer import kind_of, waiting_key
from ..queues import dedicated_queue, dynamic_queue
from .compat import GET_TIMEOUT, bound_waits

__all__ = ("Mover",)

logger = logging.getLogger(__name__)

#: Set by the broker or by kombu when a message is published; not ours to copy.
_NOT_COPIED = frozenset(
    {
        "application_headers",
        "body_encoding",
        "content_encoding",
        "content_type",
        "delivery_info",
        "delivery_mode",
        "delivery_tag",
        "exchange",
        "headers",
        "priority",
        "routing_key",
    }
)
#: kombu has decompressed the body already, and the copy is delivered for the first time.
_OLD_HEADERS = frozenset({"compression", "x-delivery-count"})
#: How often a publish, or a connection, is tried anew.
_ONCE_MORE: dict[str, Any] = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}


class Mover:
    """Publishes copies of messages to dedicated queues."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._policy = policy_of(app)

    def id_of(self, message: Any, name: str) -> str:
        """Return the concurrency id of a gated task's message: what its publisher chose, else what its arguments say.

        Raises:
            Exception: No id comes of the arguments.
        """
        policy = self._policy
        headers = message.headers if isinstance(message.headers, dict) else {}
        if headers.get(HEADER) is not None:
            try:
                return policy.check_id(name, headers[HEADER])
            except InvalidOption:
                pass  # anybody may write headers
        if name in policy.ids:
            return policy.ids[name]
        payload = message.decode()
        if isinstance(payload, dict):
            return policy.id_for(name, payload.get("args"), payload.get("kwargs"))
        return policy.id_for(name, payload[0], payload[1])

    def copy(self, message: Any, id: str) -> None:
        """Publish a copy of a message to the queue of an id, whatever its task is.

        Raises:
            Exception: The publish failed.
        """
        headers = message.headers if isinstance(message.headers, dict) else {}
        self.move(message, str(headers.get("task") or ""), id)

    def move(self, message: Any, name: str, id: str) -> None:
        """Publish a copy of a gated task's message to an id's queue; the caller acknowledges the original afterwards.

        Raises:
            Exception: The publish failed; the original is still the broker's.
        """
        policy, known, declared = self._policy, None, None
        if id in policy.gated:
            queue = dedicated_queue(self._app, id)
        else:
            queue, known = dynamic_queue(self._app, id), policy.known(id, policy.id_of(name) or "")
            declared = policy.announcer.learn(known)
        properties = dict(message.properties or {})
        priority = properties.get("priority")
        headers = {key: value for key, value in (message.headers or {}).items() if key not in _OLD_HEADERS}
        if known is not None:
            headers[HEADER] = id
        self._publish(
            message.body,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            headers=headers,
            exchange=queue.exchange if queue.exchange.type != "direct" else "",
            routing_key=queue.routing_key if queue.exchange.type != "direct" else queue.name,
            declare=[queue],
            delivery_mode=2,
            priority=priority,
            **{key: value for key, value in properties.items() if key not in _NOT_COPIED and value is not None},
        )
        if declared is not None:
            declared()
        task_id = headers.get("id")
        if task_id is None and isinstance(message.payload, dict):
            task_id = message.payload.get("id")
        about = {} if known is None else {"family": known.family, "limit": known.limit, "needs": known.needs}
        key = waiting_key(task_id, headers.get("retries"))
        policy.announcer.announce(id, *key, **about, kind=kind_of(name, priority))
        logger.debug("concurrency: moved task %s to its queue %r", task_id, id)

    def _publish(self, body: Any, **options: Any) -> None:
        """Publish, within a bound: the worker's loop stands still meanwhile, and with it all that keeps it alive."""
        with self._app.pool.acquire(block=True, timeout=GET_TIMEOUT) as connection:
            try:
                connection.ensure_connection(**_ONCE_MORE)
                producer = self._app.amqp.Producer(connection)
                bound_waits(producer.channel)
                producer.publish(
                    body,
                    # A connection from the pool may have died of idleness.
                    retry=True,
                    retry_policy={**_ONCE_MORE, "on_revive": bound_waits},
                    timeout=GET_TIMEOUT,
                    confirm_timeout=GET_TIMEOUT,
                    **options,
                )
            except Exception:
                # An answer that comes later must not be taken for that to another question.
                connection.collect()
                raise
