"""OpenTelemetry's spans of gated tasks say how long the task waited for its slot."""

from __future__ import annotations

import json
from typing import Any, Callable

import pytest

from harness.setup import Setup
from harness.waiting import wait


def spans(setup: Setup) -> list[dict[str, Any]]:
    lines = map(json.loads, setup.truth_file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["event"] == "span" and line["name"].startswith("run/")]


@pytest.mark.parametrize("instrumented", ["process", "import"])
def test_the_span_of_a_run_tells_how_long_the_task_waited(make_setup: Callable[..., Setup], instrumented: str) -> None:
    """However the user instruments Celery: in each pool process, or before anything else."""
    setup = make_setup(workers=1, concurrency=2, harness_tracing=instrumented)
    gate = setup.gate()
    setup.send("one", tag="first", gate=gate)
    setup.wait_running(1, "one")
    second = setup.send("one", tag="second")
    (ordinary,) = [setup.send("ordinary")]
    setup.wait_ended([ordinary])
    began = setup.sweep.runs(name="ordinary")[0]
    gate.open()
    setup.wait_ended([second])
    retried = setup.send("retrying")
    wait(lambda: len(spans(setup)) == 5, what=lambda: f"{spans(setup)}; {setup.state()}")

    told = {span["attributes"]["celery.task_name"]: span["attributes"] for span in spans(setup)}
    assert not [name for name in told["ordinary"] if name.startswith("celery.concurrency.")]
    first, last = (span["attributes"] for span in spans(setup) if span["name"] == "run/one")
    assert first["celery.concurrency.id"] == last["celery.concurrency.id"] == "one"
    runs = setup.sweep.runs("one")
    # It was published before the ordinary task ran, and started after that.
    at_least = (runs[1].start - began.start) / 1e9
    assert last["celery.concurrency.waited"] > 0.5 * at_least
    again = [span["attributes"] for span in spans(setup) if span["name"] == "run/retrying"]
    ran = setup.sweep.runs("retrying")
    assert len({each["messaging.message.id"] for each in again}) == 1 and again[0]["messaging.message.id"] == retried.id
    # A retry is published anew: it has not waited since the first publish.
    since_first = (ran[1].start - ran[0].start) / 1e9
    assert again[1]["celery.concurrency.waited"] < since_first
