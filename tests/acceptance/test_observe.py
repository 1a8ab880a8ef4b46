"""A limit that only watches stops nothing, tells what it would have done, and bites once an operator says so."""

from __future__ import annotations

import json
from typing import Callable

import pytest

from celery_concurrency_id import Concurrency, InvalidControl
from harness.commands import run_command
from harness.setup import Setup
from harness.waiting import stays, wait


def test_a_limit_that_only_watches_stops_nothing_and_says_what_it_would_have_done(
    make_setup: Callable[..., Setup],
) -> None:
    setup = make_setup(broker="rabbitmq", workers=1, concurrency_observe=["two", "tenant-{tenant}"])
    control = Concurrency(setup.app)
    gate, last = setup.gate(), setup.gate()
    results = setup.send_many("two", 4, gate=gate)
    results.append(setup.send("tenant", "big", gate=gate))
    setup.wait_running(4, "two")
    setup.wait_running(1, "tenant-big")

    figures = wait(lambda: (seen := control.observed("two")).tasks == 4 and seen, what=setup.state)
    assert (figures.limit, figures.running, figures.peak) == (2, 4, 4)
    assert (figures.waited, figures.waiting, figures.line, figures.beyond) == (2, 2, 2, 0)
    assert (figures.wait_mean, figures.wait_longest) == (None, None), "nobody has begun there who waited"
    status = control.show("two").status
    assert (status.limit, status.observes) == (None, 2)
    assert (control.observed("tenant-big").limit, control.observed("tenant-big").waited) == (1, 0)
    with pytest.raises(InvalidControl, match="does not only watch"):
        control.observed("one")

    stays(lambda: len(setup.running("two")) == 4, 0.5, "as long as the others would wait, at least")
    gate.open()
    setup.wait_ended(results)
    # As long again as the first two took, and the others would be over, too.
    figures = wait(lambda: (seen := control.observed("two")).waiting == 0 and seen, what=setup.state)
    assert figures.wait_mean is not None and 0.5 <= figures.wait_mean <= figures.seconds
    assert figures.wait_median is not None and figures.wait_longest is not None
    assert figures.wait_median <= figures.wait_longest <= figures.seconds

    said = run_command(setup, "concurrency", "observed", "two", "--json", "--anew").stdout
    assert json.loads(said)["waited"] == 2
    assert control.observed("two").tasks == 0

    control.set("two", 1)
    bitten = setup.send_many("two", 2, gate=last)
    setup.wait_running(1, "two")
    stays(lambda: len(setup.running("two")) == 1, 1, "an override holds")
    last.open()
    setup.wait_ended(bitten)
