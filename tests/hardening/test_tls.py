"""Redis over TLS, with certificates that the test makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from hardening.tls import Authority, OwnTLSRedis, TLSRedis, program_with_tls
from harness.servers import Servers
from harness.setup import Setup
from harness.waiting import stays, wait

pytestmark = pytest.mark.slow


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates", "authority")


@pytest.fixture
def server(servers: Servers, authority: Authority) -> Iterator[TLSRedis]:
    redis = servers.redis()
    server = TLSRedis(redis, authority)
    yield server
    server.close()
    redis.teardown()


@pytest.fixture
def own(request: pytest.FixtureRequest, authority: Authority, tmp_path: Path) -> Iterator[TLSRedis | OwnTLSRedis]:
    """One that speaks TLS itself, if one on this machine does."""
    program = program_with_tls()
    if program is None:
        yield request.getfixturevalue("server")
        return
    server = OwnTLSRedis(tmp_path / "own", authority, program)
    server.start()
    server.ready()
    yield server
    server.teardown()


def test_broker_and_slots_over_tls(
    make_setup: Callable[..., Setup], own: TLSRedis | OwnTLSRedis, authority: Authority
) -> None:
    """The broker's options hold for the slots, which are on the same Redis."""
    options: dict[str, Any] = {"ssl_ca_certs": str(authority.file), "ssl_cert_reqs": "required"}
    setup = make_setup(workers=2, concurrency=2, broker_url=own.url, broker_use_ssl=options)

    results = setup.send_many("two", 10, seconds=0.05)

    setup.wait_ended(results)
    assert setup.sweep.peak("two") == 2
    setup.assert_slots_are_free("two", 2)
    assert own.client.keys("concurrency:*"), "the slots are there"


def test_slots_over_tls_and_a_certificate_that_nobody_trusts(
    make_setup: Callable[..., Setup], server: TLSRedis, authority: Authority, tmp_path: Path
) -> None:
    """The worker says so, gated tasks wait, ordinary ones run; a worker that knows the authority then runs the rest."""
    stranger = Authority(tmp_path / "stranger", "authority")
    setup = make_setup(
        workers=0,
        concurrency_url=f"{server.url}?ssl_cert_reqs=CERT_REQUIRED",
        concurrency_transport_options={"ssl_ca_certs": str(authority.file)},
    )
    setup.start_workers(1, concurrency=2, concurrency_transport_options={"ssl_ca_certs": str(stranger.file)})
    results = setup.send_many("one", 5)

    wait(lambda: "cannot be reached" in setup.worker.logs(), 20, lambda: f"it says so; {setup.state()}")
    wait(lambda: "found at start: Redis at rediss://" in setup.worker.logs(), 20, lambda: f"and why; {setup.state()}")
    assert "certificate verify failed" in setup.worker.logs()
    setup.wait_ended([setup.send("ordinary")])
    stays(lambda: not setup.sweep.runs("one"), 1, "without its slots no gated task runs")

    setup.start_workers(1, concurrency=2)
    setup.wait_ended(results)
    assert setup.sweep.peak("one") == 1
    assert server.client.keys("concurrency:*"), "the slots are there"
