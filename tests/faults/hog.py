"""Tasks that never let go of the GIL while they run, for longer than a silent worker is given.

Loaded by ``imports`` of a worker's settings.
"""

from __future__ import annotations

import ctypes
from typing import Any

from harness import truth

#: Seconds that one task holds the GIL: more than the short tier, well under the lease.
HELD = 2.2


def hold(self: truth.Run, seconds: float = 0.0, gate: Any = None) -> None:
    """Sleep in a call into C that keeps the GIL: computing would take as long as the machine is busy."""
    ctypes.PyDLL(None).poll(None, 0, int(HELD * 1000))


truth.Run.hold = hold  # type: ignore[method-assign]
