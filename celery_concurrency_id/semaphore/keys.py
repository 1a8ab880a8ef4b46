"""The Redis keys: every one, its type, what it holds and how long it lives.

All keys of a namespace start with the same prefix, ``concurrency:{NAMESPACE}:``; the braces are a hash tag, so that
one script can use them together on a cluster. No key but ``reserved:ID`` is given an expiry: a script that ends a
lease, or that sees a queue run empty, removes what belongs to it.

========================  ======  =============================================================================
key                       type    holds
========================  ======  =============================================================================
``meta``                  hash    ``run`` the server run the state belongs to; ``recover_until`` and
                                  ``recover_floor`` (us) the recovery window; ``fence`` the newest token;
                                  ``polled:FLEET`` (us) and ``cursor:FLEET`` the safety poll;
                                  ``audited:FLEET`` (us) and ``audit:FLEET`` how far slots were checked
``awaited``               set     workers that a recovery still waits for
``workers``               zset    worker, by when it was last heard (us): the leases
``worker:WORKER``         hash    ``host``, ``fleet``, ``lease_us``; gone with the lease
``held:WORKER``           hash    token to concurrency id; gone with the lease
``fleets``                set     fleets with a live worker
``members:FLEET``         set     workers of a fleet
``serves:FLEET``          set     ids that a fleet's workers serve
``ready:FLEET``           zset    ids with a free slot and a waiting task, by since when (us)
``idle:FLEET``            zset    workers with a free place and nothing to do, by since when (us)
``id:ID``                 hash    ``limit`` (0: none), ``seq`` announcements so far, ``unseen`` waiting tasks that
                                  were not announced, ``fetching`` slots granted but not yet started in
``slots:ID``              hash    token to ``worker|state|since|task``
``waiting:ID``            zset    ``task:retries``, by the number of its announcement
``reserved:ID``           zset    ``task:retries`` of tasks that are being published to a bounded queue, by when their
                                  place was taken (us); 30 s
``early``                 zset    tasks that started before their announcement came, by when (us); 30 s
========================  ======  =============================================================================

Channels: ``mail:WORKER`` (one worker: ``invite``, ``ping``, ``rejoin``) and ``all`` (every worker: ``rejoin``,
``invite``).
"""

from __future__ import annotations

__all__ = ("mailbox", "everyone", "prefix")


def prefix(namespace: str) -> str:
    """Return what every key of a namespace starts with."""
    return f"concurrency:{{{namespace}}}:"


def mailbox(key_prefix: str, worker: str) -> str:
    """Return the channel that one worker listens on."""
    return f"{key_prefix}mail:{worker}"


def everyone(key_prefix: str) -> str:
    """Return the channel that every worker of the namespace listens on."""
    return f"{key_prefix}all"
