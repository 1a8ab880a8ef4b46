"""The commands that the README promises are the ones that continuous integration runs."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_ci_runs_exactly_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    command = next(line for line in script if "tox" in line and line.startswith("python3 -m venv")).split(" 2>&1")[0]

    assert command in (ROOT / "README.md").read_text()


def test_the_readme_starts_the_demo_that_is_tested() -> None:
    readme = (ROOT / "README.md").read_text()

    assert ".venv/bin/pip install -q '.[example]' && .venv/bin/python example_project" in readme
    assert (ROOT / "example_project" / "__main__.py").exists()
