"""The example as a process."""

from __future__ import annotations

from example.demo import start  # noqa: F401 - a fixture
