"""Random histories: the scripts do what the model does, step by step, and keep the invariants."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from semaphore.lua import scripts
from semaphore.machine import LaneMachine, SemaphoreMachine
from semaphore.machine_made import MakingMachine

#: With CONCURRENCY_LONG=1, 250,000 steps, others each time, instead of 3,000 that are nearly always the same; in parts,
#: because of the tests' time limit.
LONG = os.environ.get("CONCURRENCY_LONG", "") not in ("", "0")
PARTS, EXAMPLES, STEPS = (50, 50, 100) if LONG else (2, 30, 50)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", [MakingMachine, LaneMachine])
def test_the_scripts_agree_with_the_model_and_keep_the_invariants_in_any_history(
    kind: type[SemaphoreMachine], part: int, redis_url: str
) -> None:
    machine = type("Machine", (kind,), {"redis_url": redis_url})
    if not LONG:
        machine = seed(part)(machine)
    with scripts():
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=EXAMPLES if kind is MakingMachine or LONG else EXAMPLES // 2,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
                report_multiple_bugs=False,
            ),
        )
