"""The example, run as a user runs it."""
