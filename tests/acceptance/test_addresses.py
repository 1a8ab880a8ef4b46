"""The ways to reach a Redis that holds queues and slots: with user and password, by Unix socket, by Sentinel."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable
from urllib.parse import quote

import pytest
import redis

from harness.process import ProcessContainer, free_port
from harness.redis_server import RedisProcess, executable
from harness.setup import Setup
from harness.waiting import wait

SECRET = "p@ss/w:rd"


class Sentinel(ProcessContainer):
    """A Sentinel with a password of its own, for a master with another."""

    ready_prompt = "+monitor"

    def __init__(self, directory: Path, master: RedisProcess) -> None:
        self.port = free_port()
        config = directory / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {directory}\nrequirepass sentinels-own\n"
            f'sentinel monitor mymaster 127.0.0.1 {master.port} 1\nsentinel auth-pass mymaster "{SECRET}"\n'
        )
        super().__init__("sentinel", [str(executable()), str(config), "--sentinel"], directory)


@pytest.fixture
def server() -> Iterator[RedisProcess]:
    """A Redis with a password, and with a Unix socket, whose path has to be short."""
    with tempfile.TemporaryDirectory(prefix="redis-") as short:
        server = RedisProcess(Path(short))
        server.argv += ["--unixsocket", f"{short}/socket"]
        server.start()
        try:
            server.ready()
            server.client.config_set("requirepass", SECRET)
            yield server
        finally:
            server.teardown()


@pytest.fixture(autouse=True)
def announced(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Tasks run without an announcement too, if later: the publisher's log tells."""
    yield
    said = [record.getMessage() for record in caplog.get_records("call")]
    assert not [line for line in said if "semaphore" in line]


def judge(make_setup: Callable[..., Setup], server: RedisProcess, database: int, **conf: Any) -> None:
    """Run tasks over two workers, and find the slots in this database of the server."""
    setup = make_setup(workers=2, concurrency=3, **conf)
    gate = setup.gate()
    results = setup.send_many("two", 6, gate=gate) + setup.send_many("one", 3, gate=gate)
    setup.wait_running(2, "two")
    setup.wait_running(1, "one")

    client = redis.Redis(port=server.port, db=database, password=SECRET)
    assert client.hlen("concurrency:{celery}:slots:two") == 2
    wait(lambda: setup.waiting("two") == 4 and setup.waiting("one") == 2, what=setup.state)
    gate.open()

    setup.wait_ended(results)
    assert setup.sweep.peak("two") == 2
    assert setup.sweep.tags("one") == [0, 1, 2]
    assert not any(SECRET in node.logs() for node in setup.workers)


def test_a_password_with_any_signs_reaches_broker_and_slots(
    make_setup: Callable[..., Setup], server: RedisProcess
) -> None:
    judge(make_setup, server, 3, broker_url=f"redis://default:{quote(SECRET, safe='')}@127.0.0.1:{server.port}/3")


def test_a_unix_socket_reaches_broker_and_slots(make_setup: Callable[..., Setup], server: RedisProcess) -> None:
    """Each in the way of its own library: kombu's and redis-py's."""
    path, password = f"{server.directory}/socket", quote(SECRET, safe="")
    judge(make_setup, server, 1, broker_url=f"redis+socket://:{password}@{path}?virtual_host=1")
    judge(
        make_setup,
        server,
        2,
        broker_url=f"redis+socket://:{password}@{path}?virtual_host=4",
        concurrency_url=f"unix://:{password}@{path}?db=2",
    )


def test_sentinel_tells_broker_and_slots_where_the_master_is(
    make_setup: Callable[..., Setup], server: RedisProcess, tmp_path: Path
) -> None:
    sentinel = Sentinel(tmp_path, server)
    sentinel.start()
    try:
        sentinel.ready()
        judge(
            make_setup,
            server,
            5,
            broker_url=f"sentinel://:{quote(SECRET, safe='')}@127.0.0.1:{sentinel.port}/5",
            broker_transport_options={"master_name": "mymaster", "sentinel_kwargs": {"password": "sentinels-own"}},
        )
    finally:
        sentinel.teardown()
