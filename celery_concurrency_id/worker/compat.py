"""Every private name of Celery, kombu and billiard that the worker uses, and every switch between their versions."""

from __future__ import annotations

import os
import socket
import time
from functools import partial
from struct import pack
from typing import Any, Callable

from amqp import spec
from amqp.serialization import dumps
from kombu.transport.virtual import QoS as VirtualQoS
from kombu.utils.json import loads

__all__ = (
    "bound_waits",
    "can_kill",
    "cancel_timer",
    "clock",
    "delete_empty",
    "delivered",
    "expires",
    "get_amqp",
    "green_semaphore",
    "has_waiters",
    "is_amqp",
    "is_prefork",
    "is_redis",
    "open_pid",
    "pool_job_alive",
    "prepare_gets",
    "queue_lengths",
    "redis_keys",
    "restore_at_front",
    "reuse_client",
    "thread_backlog",
    "visibility_timeout",
)

#: Seconds for a broker to answer a ``basic.get`` or anything else; after that the connection counts as lost.
GET_TIMEOUT = 5.0


def prepare_gets(channel: Any) -> None:
    """Let an AMQP channel take replies to several gets, its end for the connection's, and wait for nothing without a
    bound.

    py-amqp revives a channel that the broker closes, under delivery tags that start again at 1: what was fetched
    before would acknowledge somebody else's message.
    """
    replies: list[Any] = []

    def on_message(*reply: Any) -> None:
        replies.append(channel.message_to_python(channel._on_get_ok(*reply)))

    def on_empty(*reply: Any) -> None:
        replies.append(None)

    def on_close(code: int, text: str, *about: Any) -> None:
        channel.send_method(spec.Channel.CloseOk)
        channel.concurrency_replies = None
        raise ConnectionError(f"the broker closed the channel of the dedicated queues: {code} {text}")

    channel.concurrency_replies = replies
    channel._callbacks[spec.Basic.GetOk] = on_message
    channel._callbacks[spec.Basic.GetEmpty] = on_empty
    channel._callbacks[spec.Channel.Close] = on_close
    # Also for declaring a queue and asking for its length.
    bound_waits(channel)


def bound_waits(channel: Any) -> None:
    """Let an AMQP channel wait for no answer without a bound; py-amqp itself would wait until heartbeats are missed."""
    if is_amqp(channel) and not isinstance(channel.wait, partial):
        channel.wait = partial(channel.wait, timeout=GET_TIMEOUT)


def get_amqp(channel: Any, queue: Any, declare: bool, most: int) -> list[Any]:
    """Return up to so many messages of a bound queue of an AMQP broker: ask for all of them, then read the replies.

    py-amqp's own ``basic_get`` asks for one, and waits for ever where the broker does not answer.

    Args:
        declare: Whether to declare the queue in the same breath: a get from one that is gone closes the channel.

    Raises:
        ConnectionError: The channel is closed, or the broker does not answer in time.
    """
    replies = channel.concurrency_replies
    if replies is None:
        raise ConnectionError("the channel of the dedicated queues is closed")
    if declare:
        queue.queue_declare(nowait=True)
    channel.connection.transport.write(_get_frame(channel.channel_id, queue.name) * most)
    deadline = time.monotonic() + GET_TIMEOUT
    while len(replies) < most:
        left = deadline - time.monotonic()
        if left <= 0:
            raise ConnectionError(f"the broker has not answered a get for {GET_TIMEOUT:g} s")
        try:
            channel.connection.drain_events(timeout=left)
        except socket.timeout:
            continue
    messages = [reply for reply in replies if reply is not None]
    replies.clear()
    return messages


def _get_frame(channel: int, queue: str) -> bytes:
    """Return the frame of a ``basic.get``; py-amqp would write several of them one by one."""
    arguments = dumps("Bsb", (0, queue, False))
    method = pack(">HH", *spec.Basic.Get)
    return pack(">BHI", 1, channel, len(method) + len(arguments)) + method + arguments + b"\xce"


def redis_keys(channel: Any, queue: str) -> list[str]:
    """Return the keys of what kombu notes as delivered, of its index, and of a queue's lists by priority."""
    lists = (channel._q_for_pri(queue, step) for step in channel.priority_steps)
    prefix = channel.global_keyprefix
    return [f"{prefix}{key}" for key in (channel.unacked_key, channel.unacked_index_key, *lists)]


def expires(channel: Any, queue: str) -> bool:
    """Say whether each get puts off the end of a queue of kombu's Redis transport: one with ``x-expires``."""
    return queue in getattr(channel, "_expires", ())


def delivered(channel: Any, item: bytes, tag: str) -> Any:
    """Return the message that a list of kombu's Redis transport held.

    Args:
        tag: Under what Redis notes it as delivered; empty where it has not noted it yet.

    Raises:
        Exception: It is no message.
    """
    message = channel.Message(loads(item), channel=channel)
    if tag:
        VirtualQoS.append(channel.qos, message, tag)
    elif not isinstance(message.delivery_tag, str):
        raise ValueError("its delivery tag is no text")
    else:
        # Python reads what Redis cannot, such as half a surrogate. Noted in a step of its own, as kombu itself does.
        channel.qos.append(message, message.delivery_tag)
    return message


def reuse_client(channel: Any) -> Any:
    """Let a channel of kombu's Redis transport keep one client; it would make a new one for each command."""
    create = getattr(channel, "_create_client", None)
    if create is not None and is_redis(channel):
        client = create()
        channel._create_client = lambda asynchronous=False: create(asynchronous) if asynchronous else client
    return channel


def is_amqp(channel: Any) -> bool:
    """Say whether a channel speaks AMQP rather than emulating it."""
    return hasattr(channel, "send_method")


def is_redis(channel: Any) -> bool:
    """Say whether a channel is kombu's Redis transport."""
    return hasattr(channel, "_q_for_pri") and hasattr(channel, "conn_or_acquire")


def restore_at_front(message: Any) -> None:
    """Put a fetched message back to where it was: the head of its queue."""
    channel = message.channel
    if is_redis(channel):
        # reject(requeue=True) would put it at the tail.
        channel.qos.restore_by_tag(message.delivery_tag)
        channel.qos._delivered.pop(message.delivery_tag, None)
        message._state = "REQUEUED"
    else:
        message.requeue()


def queue_lengths(channel: Any, queues: list[Any]) -> dict[str, int]:
    """Return how many messages are ready in each queue."""
    if is_redis(channel):
        with channel.conn_or_acquire() as client:
            pipe = client.pipeline(transaction=False)
            for queue in queues:
                for priority in channel.priority_steps:
                    pipe.llen(channel._q_for_pri(queue.name, priority))
            sizes = pipe.execute()
        steps = len(channel.priority_steps)
        return {queue.name: sum(sizes[i * steps : (i + 1) * steps]) for i, queue in enumerate(queues)}
    # Not passively: that is an error for an empty queue on some transports.
    return {queue.name: queue.queue_declare(nowait=False)[1] for queue in queues}


def delete_empty(connection: Any, names: list[str]) -> set[str]:
    """Delete empty queues of an AMQP broker that nobody consumes; return the names of those that are gone.

    On connections of their own: a broker that refuses closes the channel, or, for a quorum queue, the connection.
    """
    gone: set[str] = set()
    scratch: Any = None
    for name in names:
        for conditions in ({"if_unused": True, "if_empty": True}, {}):
            try:
                scratch = scratch or connection.clone()
                channel = scratch.channel()
                if not conditions and any(channel.queue_declare(name, passive=True)[1:]):
                    break
                channel.queue_delete(name, **conditions)
                channel.close()
            except connection.channel_errors:
                break
            except connection.connection_errors:
                # A quorum queue takes no conditions.
                _close(scratch)
                scratch = None
            else:
                gone.add(name)
                break
    _close(scratch)
    return gone


def _close(connection: Any) -> None:
    try:
        if connection is not None:
            connection.release()
    except Exception:  # it was closed by the broker
        pass


def visibility_timeout(channel: Any) -> float | None:
    """Return the seconds after which an unacknowledged message is delivered again; None where there is no such time."""
    return getattr(channel, "visibility_timeout", None)


def pool_job_alive(pool: Any, result: Any) -> bool:
    """Say, after the pool was flushed, whether a job can still run; make sure that its end is noticed if so.

    Celery's flush forgets every job that no process has accepted yet, also those already written to a process, which
    will run them. Before 5.7 it can forget those that run as well, and which processes are busy: they would be given
    more tasks.
    """
    if result is None or result.ready():
        return False
    process = result._write_to
    alive = process is not None and process._is_alive()
    if not alive and not result._accepted:
        return False
    pool._pool._cache.setdefault(result._job, result)
    if alive:
        pool._pool._busy_workers.add(process.inqW_fd)
    return True


def cancel_timer(request: Any, timer: Any) -> None:
    """Cancel the timer of a request that waits for its ETA, where Celery tells which one it is (5.7 and newer)."""
    entry = getattr(request, "_eta_timer_entry", None)
    if entry is not None:
        timer.cancel(entry)


def is_prefork(pool: Any) -> bool:
    """Say whether the pool runs tasks in child processes."""
    return bool(getattr(pool, "uses_semaphore", False))


def can_kill(pool: Any) -> bool:
    """Say whether the pool can kill a task's process."""
    return is_prefork(pool)


def thread_backlog(pool: Any) -> int:
    """Return how many jobs wait in a thread pool's executor."""
    return int(pool.executor._work_queue.qsize())


def thread_pool_ended(pool: Any) -> bool:
    """Say whether a thread pool's executor takes no more jobs."""
    return bool(pool.executor._shutdown)


def green_semaphore(pool: Any) -> Any:
    """Return the semaphore with which a pool of greenlets counts its room: gevent's or eventlet's."""
    inner = pool._pool
    return inner._semaphore if hasattr(inner, "_semaphore") else inner.sem


def has_waiters(semaphore: Any) -> bool:
    """Say whether greenlets wait at a semaphore of gevent's or eventlet's."""
    linkcount = getattr(semaphore, "linkcount", None)
    return bool(linkcount() if linkcount is not None else semaphore._waiters)


def clock() -> Callable[[], float]:
    """Return a clock that goes on while the machine is suspended, where there is one."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    if boottime is None:
        return time.monotonic
    return lambda: time.clock_gettime(boottime)


def open_pid(pid: int) -> int | None:
    """Return a descriptor that becomes readable when a process dies, where the system has such a thing."""
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return None
    try:
        return int(opener(pid))
    except OSError:
        return None
