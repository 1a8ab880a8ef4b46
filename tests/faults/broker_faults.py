"""What can happen to the broker."""

from __future__ import annotations

import random
import time
import urllib.error
from typing import Any, Callable

from amqp.exceptions import NotFound

from faults.app import ID
from faults.campaign import Fault
from faults.judge import Injury
from faults.load import Load
from faults.scene import Scene, now
from faults.worker_faults import busy_worker
from harness.waiting import wait

#: What Celery logs when it gives up a connection.
LOST = "Connection to broker lost"


def restart(scene: Scene, rng: random.Random, load: Load) -> Injury:
    """The broker stops and comes back with what it had stored."""
    at = now()
    scene.broker.container.restart()
    return Injury(at, now())


def reset_connections(scene: Scene, rng: random.Random, load: Load) -> Injury:
    """The broker ends every connection."""
    at = now()
    if scene.config.broker == "redis":
        for kind in ("normal", "pubsub"):
            scene.broker.container.client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    else:
        server = scene.broker.container
        # The management database learns of connections every few seconds.
        names = wait(lambda: [row["name"] for row in server.manage("GET", "connections")], 15, "connections are listed")
        at = now()
        for name in names:
            try:
                server.manage("DELETE", f"connections/{name.replace(' ', '%20').replace('>', '%3E')}")
            except urllib.error.HTTPError:
                pass  # it had ended by itself
    return Injury(at, now())


def purge(scene: Scene, rng: random.Random, load: Load) -> Injury:
    """Somebody empties the queue; its tasks are gone, and no slot waits for them."""
    injury = _throw_away(scene, load, lambda channel: channel.queue_purge(ID))
    load.pause(False)
    return injury


def delete(scene: Scene, rng: random.Random, load: Load) -> Injury:
    """Somebody deletes the queue under the workers; its tasks are gone, and the queue comes back."""
    injury = _throw_away(scene, load, lambda channel: channel.queue_delete(ID))
    if scene.config.broker == "rabbitmq":
        # RabbitMQ drops what is published to a queue that is not there; the workers make it again.
        wait(lambda: _exists(scene), 20, "the queue is back")
    load.pause(False)
    return Injury(injury.at, now())


def _throw_away(scene: Scene, load: Load, how: Callable[[Any], Any]) -> Injury:
    """Do something to the queue that ends what waits in it; the publisher stands still after that."""
    load.pause(True)
    at = now()
    with scene.app.connection_for_write() as connection, connection.channel() as channel:
        how(channel)
    wait(lambda: not scene.sweep.running(), 15, "what had started ends")
    load.write_off()
    return Injury(at, now())


def cut(how: str) -> Callable[..., Injury]:
    """The network between RabbitMQ and one worker fails and heals."""

    def inject(scene: Scene, rng: random.Random, load: Load) -> Injury:
        worker = busy_worker(scene, rng)
        assert worker.line is not None
        at, lost = now(), worker.logs().count(LOST)
        getattr(worker.line, how)()
        time.sleep(rng.uniform(0.5, 3))  # how long the fault lasts
        # Until it has given up the connection, what it starts cannot be acknowledged. One that runs nothing may not
        # notice for long, and does no harm.
        deadline = time.monotonic() + 12
        while worker.logs().count(LOST) == lost and time.monotonic() < deadline:
            time.sleep(0.01)  # between two looks, with a deadline
        worker.line.heal()
        return Injury(at, now(), muted=frozenset([worker.host]))

    return inject


def _exists(scene: Scene) -> bool:
    with scene.app.connection_for_write() as connection, connection.channel() as channel:
        try:
            channel.queue_declare(ID, passive=True)
        except NotFound:
            return False
    return True


FAULTS = (
    Fault("broker restarted", restart, recovers=25.0, repeats="interrupted"),
    Fault("broker connections reset", reset_connections, recovers=25.0, repeats="interrupted", often=True),
    Fault("queue purged", purge),
    Fault("queue deleted", delete, often=True),
)

NETWORK = (
    Fault("one worker cannot hear RabbitMQ", cut("deafen"), recovers=25.0, repeats="harmed"),
    Fault("one worker cut off from RabbitMQ, by resets", cut("reset"), recovers=25.0, repeats="harmed"),
)

SHARED = (
    Fault("the only Redis restarted", restart, recovers=25.0, repeats="interrupted"),
    Fault("every connection to the only Redis killed", reset_connections, recovers=25.0, repeats="interrupted"),
)
