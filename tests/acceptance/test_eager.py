"""Tasks called in the process itself run at once; neither Redis nor a broker is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import truth
from harness.app import make_app
from harness.sweep import Sweep

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.setenv(truth.LOG, str(tmp_path / "truth.jsonl"))
    return Sweep(tmp_path / "truth.jsonl")


def test_apply_runs_at_once_without_redis(sweep: Sweep) -> None:
    app = make_app({"broker_url": NOWHERE, "result_backend": NOWHERE})

    result = app.tasks["one"].apply(kwargs={"tag": "now"})

    assert result.get() == "now"
    assert sweep.tags("one") == ["now"]


def test_task_always_eager_runs_at_once_without_redis(sweep: Sweep) -> None:
    app = make_app({"broker_url": NOWHERE, "result_backend": NOWHERE, "task_always_eager": True})

    results = [app.tasks["one"].delay(tag=tag) for tag in range(3)]

    assert [result.get() for result in results] == [0, 1, 2]
    assert sweep.tags("one") == [0, 1, 2]


def test_a_direct_call_is_a_plain_function_call(sweep: Sweep) -> None:
    app = make_app({"broker_url": NOWHERE})

    assert app.tasks["one"](tag="called") == "called"
