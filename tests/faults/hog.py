"""Tasks that never let go of the GIL while they run, for longer than a silent worker is given.

Loaded by ``imports`` of a worker's settings.
"""

from __future__ import annotations

import time
from typing import Any

from harness import truth

#: Seconds that one task holds the GIL: more than the short tier, well under the lease.
HELD = 2.2


def hold(self: truth.Run, seconds: float = 0.0, gate: Any = None) -> None:
    """Sum numbers in one call into C, which Python cannot interrupt."""
    begun = time.monotonic()
    sum(range(200_000))
    sum(range(int(200_000 * HELD / (time.monotonic() - begun))))


truth.Run.hold = hold  # type: ignore[method-assign]
