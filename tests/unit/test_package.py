"""What the installed package, or the wheel of this checkout, carries."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path

import celery_concurrency_id
from celery_concurrency_id.semaphore.scripts import SHARED, VERBS, load

PAGE = ("index.html", "page.css", "page.js", "draw.js", "icon.svg")
DATA = {
    "py.typed",
    "dashboards/grafana.json",
    "dashboards/alerts.yml",
    *(f"page/static/{name}" for name in PAGE),
    "worker/get.lua",
    *(f"semaphore/lua/{verb}.lua" for verb in (*VERBS, *SHARED)),
}


def test_the_package_carries_its_scripts_and_says_that_it_is_typed() -> None:
    package = files("celery_concurrency_id")
    missing = {name for name in DATA if not package.joinpath(*name.split("/")).is_file()}
    assert not missing


def test_every_script_loads_with_the_prelude_in_front() -> None:
    for verb in VERBS:
        script = load(verb)
        assert script.verb == verb
        assert len(script.sha) == 40
        assert script.source.startswith("-- Shared by every verb")
        assert f"-- {verb}: " in script.source
    assert load("turn") is load("turn"), "read once, not for every call"


def test_an_installed_distribution_lists_them_and_the_licence() -> None:
    try:
        installed = distribution("celery-concurrency-id")
    except PackageNotFoundError:
        _the_build_would_take_them()
        return
    listed = {str(path) for path in installed.files or ()}
    if not any(path.endswith("celery_concurrency_id/__init__.py") for path in listed):
        _the_build_would_take_them()  # an editable install
        return
    assert {f"celery_concurrency_id/{name}" for name in DATA} <= listed
    assert any(path.endswith("LICENSE") for path in listed)
    assert installed.version == celery_concurrency_id.__version__
    assert not {path for path in listed if path.split("/")[0] in ("tests", "benchmarks", "example_project", "docs")}


def _the_build_would_take_them() -> None:
    """Not installed: hatchling takes every file in the package that git does not ignore."""
    root = Path(celery_concurrency_id.__file__).parent.parent
    assert 'packages = ["celery_concurrency_id"]' in (root / "pyproject.toml").read_text(encoding="utf-8")
    ignored = (root / ".gitignore").read_text(encoding="utf-8").split()
    assert not {"*.lua", "lua", "lua/", "py.typed", "*.typed"} & set(ignored)
