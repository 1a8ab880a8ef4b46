"""A slot never stands idle behind ordinary tasks while another worker could use it."""

from __future__ import annotations

from typing import Callable

import pytest

from harness.setup import Setup
from harness.waiting import wait


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_a_slot_does_not_wait_for_a_place_behind_ordinary_tasks(make_setup: Callable[..., Setup], pool: str) -> None:
    setup = make_setup(workers=0, pool=pool)
    slot, ordinary = setup.gate(), setup.gate()
    first = setup.send("one", tag="first", gate=slot)
    second = setup.send("one", tag="second")
    # Given a worker with two places: a gated task has one, an ordinary one the other, and more wait for that.
    (worker,) = setup.start_workers(1, concurrency=2)
    setup.wait_running(1, "one")
    busy = [setup.send("ordinary", tag=0, gate=ordinary)]
    wait(lambda: setup.sweep.runs(name="ordinary"), what="an ordinary task runs")
    # A worker that has received the last has handed those before it to its pool; greenlets let it receive just one.
    busy += [setup.send("ordinary", tag=tag, gate=ordinary) for tag in ((1,) if pool == "gevent" else (1, 2))]
    wait(lambda: f"Task ordinary[{busy[-1].id}] received" in worker.logs(), what=lambda: setup.state())
    # It is invited, and so asks for a place, which comes after these.
    other = setup.send("other")
    # And an idle worker that serves the id.
    setup.start_workers(1, "--queues=one", concurrency=1)

    slot.open()

    # The idle worker runs it; or the first one, if it had asked for a place before the ordinary tasks came.
    setup.wait_ended([first, second], timeout=20)
    ordinary.open()
    setup.wait_ended([other, *busy])
