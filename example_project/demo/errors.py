"""How the demo can end early."""

from __future__ import annotations


class DemoError(Exception):
    """Something the demo needs is missing or has failed; the message says what to do."""


class Interrupted(Exception):
    """The user pressed Ctrl-C."""
