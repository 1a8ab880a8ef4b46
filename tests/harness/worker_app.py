"""What ``celery -A harness.worker_app`` loads: in worker and beat processes only."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import Any

from celery.signals import task_postrun, task_prerun, worker_process_init

from celery_concurrency_id import signals
from harness import truth
from harness.app import make_app

app = make_app(json.loads(os.environ["CONCURRENCY_TEST_CONF"]))


def tell(event: str, sender: Any, request: Any, concurrency_id: str, token: int, **_: Any) -> None:
    """Write a signal of ours to the truth; the sweep passes over it."""
    truth.write(event, task=request.id, name=sender.name, concurrency_id=concurrency_id, token=token)


def tell_what_is_known(task_id: str, task: Any, **_: Any) -> None:
    """Write what a task that begins is told of its slot."""
    id, token = (getattr(task.request, f"concurrency_{name}", None) for name in ("id", "token"))
    truth.write("begins", task=task_id, name=task.name, concurrency_id=id, token=token)


if app.conf.get("harness_signals"):
    task_prerun.connect(tell_what_is_known, weak=False)
    for name in signals.__all__:
        getattr(signals, name).connect(partial(tell, name), weak=False)


def trace(**_: Any) -> None:
    """Instrument Celery as a user does, with spans in memory; write those that have ended to the truth."""
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    CeleryInstrumentor().instrument(tracer_provider=provider)

    @task_postrun.connect(weak=False)
    def tell_spans(**_: Any) -> None:
        for span in memory.get_finished_spans():
            truth.write("span", name=span.name, attributes=dict(span.attributes))
        memory.clear()


# The documented way, in each pool process; or as ``opentelemetry-instrument`` does, before anything else.
if app.conf.get("harness_tracing") == "process":
    worker_process_init.connect(trace, weak=False)
elif app.conf.get("harness_tracing") == "import":
    trace()
