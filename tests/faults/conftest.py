"""The options, the matrix and the table of the campaign.

Short form: every fault once, in one of a few circumstances. Long form (``--faults-long`` or CONCURRENCY_LONG=1): every
fault in every circumstance, several times. A seed that failed is repeated with ``--faults-seed``, one fault alone with
``--fault``.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from faults.campaign import Fault, Figures, run
from faults.matrix import CAMPAIGN
from faults.report import Measure, Measurement, recovery, table
from faults.scene import Config, Scene
from harness.servers import Servers

FIGURES = pytest.StashKey[list[Figures]]()
MEASURED = pytest.StashKey[list[Measurement]]()
SEED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    # Known to pytest only where tests/faults is named on the command line; the environment works everywhere.
    group = parser.getgroup("fault campaign")
    group.addoption("--faults-long", action="store_true", help="every fault in every circumstance (CONCURRENCY_LONG=1)")
    group.addoption("--faults-seed", type=int, help="repeat the moments of an earlier run (CONCURRENCY_FAULTS_SEED)")
    group.addoption("--faults-json", help="write the figures to a file (CONCURRENCY_FAULTS_JSON)")
    group.addoption("--fault", action="append", metavar="NAME", help="only this fault; may be given more than once")
    group.addoption("--faults-times", type=int, help="how often each fault strikes (CONCURRENCY_FAULTS_TIMES)")


def option(config: pytest.Config, name: str) -> Any:
    environment = "CONCURRENCY_LONG" if name == "long" else f"CONCURRENCY_FAULTS_{name.upper()}"
    return config.getoption(f"--faults-{name}", default=None) or os.environ.get(environment)


def is_long(config: pytest.Config) -> bool:
    return option(config, "long") not in (None, "", "0")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault" in metafunc.fixturenames:
        pairs = [pair for family in CAMPAIGN for pair in family.pairs(is_long(metafunc.config))]
        metafunc.parametrize(
            "circumstances, fault", [pytest.param(*pair, id=f"{pair[0]}-{pair[1].name}") for pair in pairs]
        )


def _fault_of(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    fault = callspec.params.get("fault") if callspec else None
    return fault.name if isinstance(fault, Fault) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A scene takes seconds to start: keep the tests that share one together, where the first of them stood."""
    chosen = config.getoption("--fault", default=None)
    if chosen:
        known = {fault.name for family in CAMPAIGN for fault in family.faults}
        if unknown := set(chosen) - known:
            raise pytest.UsageError(f"no such fault: {'; '.join(unknown)}. There are: {'; '.join(sorted(known))}")
        others = [item for item in items if _fault_of(item) not in chosen]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    first: dict[str, int] = {}

    def place(entry: tuple[int, pytest.Item]) -> int:
        number, item = entry
        callspec = getattr(item, "callspec", None)
        config = callspec.params.get("circumstances") if callspec else None
        return first.setdefault(str(config), number) if isinstance(config, Config) else number

    items[:] = [item for _, item in sorted(enumerate(items), key=place)]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES], config.stash[MEASURED] = [], []
    config.stash[SEED] = int(option(config, "seed") or random.SystemRandom().randrange(1, 1_000_000))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    figures, measured = config.stash.get(FIGURES, []), config.stash.get(MEASURED, [])
    if not figures and not measured:
        return
    terminalreporter.section(f"fault campaign, seed {config.stash[SEED]}")
    for line in table(figures) if figures else ():
        terminalreporter.write_line(line)
    for line in recovery(measured):
        terminalreporter.write_line(line)
    where = option(config, "json")
    if where:
        told = {
            "seed": config.stash[SEED],
            "faults": [row.as_dict() for row in figures],
            "recovery": [row.as_dict() for row in measured],
        }
        Path(where).write_text(json.dumps(told, indent=1) + "\n")


class Stage:
    """Holds one scene at a time."""

    def __init__(self, servers: Servers, directory: Path) -> None:
        self.servers, self.directory = servers, directory
        self.scene: Scene | None = None

    def set(self, config: Config) -> Scene:
        if self.scene is None or self.scene.config != config:
            self.clear()
            number = len(list(self.directory.iterdir()))
            self.scene = Scene(config, self.servers, self.directory / f"{number}-{config}")
        return self.scene

    def clear(self) -> None:
        scene, self.scene = self.scene, None
        if scene is not None:
            scene.teardown()


@pytest.fixture(scope="session")
def stage(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(servers, tmp_path_factory.mktemp("faults"))
    yield stage
    stage.clear()


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    return is_long(request.config)


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measure:
    """Keep what a test measured for the table."""

    def keep(name: str, seconds: list[float], goal: float | None = None) -> None:
        request.config.stash[MEASURED].append(Measurement(name, [round(each, 3) for each in seconds], goal))

    return keep


@pytest.fixture
def campaign(stage: Stage, circumstances: Config, request: pytest.FixtureRequest) -> Callable[[Fault], None]:
    """Run one fault in the circumstances of the test, and keep its figures for the table."""
    config = request.config

    def play(fault: Fault) -> None:
        usual = 5 if is_long(config) else 2 if fault.often else 1
        times = int(option(config, "times") or usual)
        seed = config.stash[SEED]
        figures = Figures(fault.name, str(circumstances), seed, times)
        config.stash[FIGURES].append(figures)
        print(f"seed {seed}: {fault.name}, {circumstances}")
        scene = stage.set(circumstances)
        try:
            run(scene, fault, seed, times, figures)
        except BaseException:
            print(f"logs in {scene.directory}\n{scene.logs()}")
            stage.clear()  # the next fault gets a scene that nothing is wrong with
            raise

    return play
