"""The campaign: whatever breaks, the limit holds, nothing is lost, no slot leaks, and capacity comes back."""

from __future__ import annotations

from typing import Callable

import pytest

from faults.campaign import Fault

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(400)]


def test_whatever_breaks_the_limit_holds_nothing_is_lost_and_capacity_comes_back(
    campaign: Callable[[Fault], None], fault: Fault
) -> None:
    campaign(fault)
