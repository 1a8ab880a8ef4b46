"""Measures what a shared limit costs: `python -m benchmarks` (see the README beside this file)."""
