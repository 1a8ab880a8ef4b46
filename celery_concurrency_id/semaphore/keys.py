"""The Redis keys: every one, its type, what it holds and how long it lives.

All keys of a namespace start with the same prefix, ``concurrency:{NAMESPACE}:``; the braces are a hash tag, so that
one script can use them together on a cluster. Only ``reserved:ID``, ``where:TASK``, ``came:TOKEN`` and ``blocked:ID``
have an expiry: a script that ends a lease, or that sees a queue run empty, removes what belongs to it.

========================  ======  =============================================================================
key                       type    holds
========================  ======  =============================================================================
``meta``                  hash    ``run`` the server run the state belongs to; ``recover_until`` and
                                  ``recover_floor`` (us) the recovery window; ``fence`` the newest token;
                                  ``polled:FLEET`` (us) and ``cursor:FLEET`` the safety poll;
                                  ``audited:FLEET`` (us) and ``audit:FLEET`` how far slots were checked;
                                  ``family:NAME`` (1) that this, which fleets serve, is a family and no id
``awaited``               set     workers that a recovery still waits for
``workers``               zset    worker, by when it was last heard (us): the leases
``worker:WORKER``         hash    ``host``, ``fleet``, ``lease_us``; gone with the lease
``held:WORKER``           hash    token to concurrency id; gone with the lease
``fleets``                set     fleets with a live worker
``members:FLEET``         set     workers of a fleet
``serves:FLEET``          set     ids, and families of ids, that a fleet's workers serve
``ready:FLEET``           zset    ids with a free slot and a waiting task, by since when (us); of a limit that several
                                  ids need, the lines whose first may go, as ``LIMIT WEIGHT``
``line:FLEET:WEIGHT:ID``  zset    ids with a waiting task that needs so many slots of this id, by since when (us)
``lines:FLEET``           set     ``LIMIT WEIGHT`` for every line that this fleet ever had
``idle:FLEET``            zset    workers with a free place and nothing to do, by since when (us)
``id:ID``                 hash    ``limit`` (0: none, negative: it only watches), ``seq`` announcements so far,
                                  ``unseen`` waiting tasks that were not announced, ``fetching`` slots granted but not
                                  yet started in; of an id made for a call also ``family`` and ``retiring`` (us) until
                                  when its queue may be about to be deleted; what an operator said: ``override`` the
                                  limit that stands over it, ``override_until`` and ``override_at`` (us),
                                  ``override_by``, ``override_note``; ``paused`` (1), ``paused_at`` (us),
                                  ``paused_by``, ``paused_note``; where tasks need slots of other ids: ``needs`` what
                                  one task does (``LIMIT WEIGHT ...``); where others need its slots: ``weights``, how
                                  many at once; of both, while they wait: ``since`` (us), ``stands`` for which limit,
                                  ``passed`` how often it was passed over, ``fits`` (us) since when it could start;
                                  ``kind`` the usual kind of its waiting tasks: priority, a blank, the task's name
``controlled``            zset    ids with an override or a pause, by when that ends by itself (us; inf: never)
``slots:ID``              hash    token to ``worker|state|since|task``, and after a NUL the task's name; of slots that
                                  tasks of another id took with theirs, ``TOKEN.NUMBER`` to ``worker|u|since|that id``
``took:ID``               hash    token to what was taken with it, as in ``needs``
``hungry:ID``             zset    ids for which younger ones leave slots of this one free, by since when (us)
``hungry``                zset    all of those
``away:ID``               hash    token to the same as in ``slots:ID``, for slots that their tasks have given back for
                                  a while; ``since`` is then that of the giving back
``back:ID``               zset    tokens of those whose tasks want them again, by since when (us)
``came:TOKEN``            list    wakes the task that waits for its slot; 10 s
``blocked:ID``            hash    token to ``at|task:retries``: holders that wait for a task which waits; 10 s
``observed:ID``           hash    of a limit that only watches: ``limit``, ``since`` (us), ``tasks`` that started, the
                                  ``peak`` of what ran at once; and what it would have done: ``waited`` how many would
                                  have waited, ``begun`` those of them that began there, ``wait`` (us) and ``longest``
                                  (us) for how long, ``over:K`` how many for more than 2**(K-1) and at most 2**K ms,
                                  ``line`` the longest line, ``beyond`` how many came when that was as long as is
                                  followed, ``busy`` slots taken there now
``trial:ID``              hash    ``token:started`` of what is there, to since when (us) it runs there; for what waits
                                  there nothing, or how long it took (us); 1000 wait at most
``queued:ID``             zset    what waits there, by since when (us)
``ends:ID``               zset    what has really ended, by when it ends there (us)
``waiting:ID``            zset    ``task:retries``, by when it was announced (us)
``kinds:ID``              set     the other kinds of its waiting tasks
``kind:ID KIND``          zset    those of ``waiting:ID`` that are of one of these kinds, by the same time
``times``                 hash    a task's name to how long such tasks have lately been in their slots: how many they
                                  were, mean and variance in ms
``where:TASK``            string  ``retries|ID`` of a task whose id was made for its call; two days
``reserved:ID``           zset    places in a bounded queue: ``task:retries`` of tasks that are being published, by when
                                  the place was taken (us), and of tasks that are kept until they are due, by when that
                                  is; 10 s after that
``early``                 zset    tasks that started before their announcement came, by when (us); 30 s
``dynamic``               zset    the directory of ids that were made for calls, by last use (us)
``lookups``               zset    the same ids, by when their queues were last looked at (us)
``fresh``                 zset    those whose queues nobody has looked at yet, by since when (us)
========================  ======  =============================================================================

Channels: ``mail:WORKER`` (one worker: ``invite``, ``ping``, ``rejoin``, ``recall ID``, ``released TOKEN``) and ``all``
(every worker: ``rejoin``, ``invite``).
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
