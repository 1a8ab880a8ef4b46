"""Claims of the pages that can be looked up in the package or in the tests."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

import celery_concurrency_id
from celery_concurrency_id import exceptions
from celery_concurrency_id.control import expected, watching
from celery_concurrency_id.metrics import look as metrics_look
from celery_concurrency_id.options import MAX_ID_BYTES
from celery_concurrency_id.semaphore import line as producers_line
from celery_concurrency_id.semaphore import operator, positions, scripts
from celery_concurrency_id.semaphore.connect import connect, is_redis_url
from celery_concurrency_id.semaphore.semaphore import RECOVERY_MS, SHORT_TIER
from celery_concurrency_id.settings import TASK_OPTIONS, Settings
from celery_concurrency_id.worker import ahead, compat, figures, link, parking, reserve
from docs.samples import PAGES, ROOT, text_of
from faults.matrix import CAMPAIGN

PACKAGE = Path(celery_concurrency_id.__file__).parent
#: What a setting is called where it differs from its field.
NAMES = {"options": "transport_options"}
LUA = "".join(scripts.load(verb).source for verb in scripts.VERBS)


def rows(page: str, heading: str) -> list[list[str]]:
    """The rows of the tables below a heading, without their first."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    section = re.split(r"^#+ ", prose.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|--")]


@pytest.mark.parametrize(
    ("page", "heading"), [("README.md", "Options and settings"), ("docs/settings.md", "In the configuration")]
)
def test_every_setting_is_in_the_table_with_its_default(page: str, heading: str) -> None:
    table = {row[0].strip("`"): row[1].strip("`") for row in rows(page, heading)}

    for field in dataclasses.fields(Settings):
        said = table.pop(f"concurrency_{NAMES.get(field.name, field.name)}")
        if field.name in ("limits", "tasks"):
            assert said == "{}"
        elif field.default is not dataclasses.MISSING:
            assert said.replace('"', "'") == repr(field.default)
    unknown = set(table) - {"option", "setting", *TASK_OPTIONS}
    assert not unknown, "a setting that does not exist"


def test_every_error_is_named_in_the_readme() -> None:
    for name in exceptions.__all__:
        assert f"`{name}`" in text_of("README.md")


def test_every_public_name_is_documented() -> None:
    pages = "".join(text_of(page) for page in PAGES)

    for name in celery_concurrency_id.__all__:
        assert name in pages


def logged() -> dict[str, str]:
    """Every line that the package logs as a warning or worse: its format, and its level in words."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            level = {"warning": "warning", "error": "error", "exception": "error"}.get(node.func.attr)
            if level and isinstance(node.func.value, ast.Name) and node.func.value.id == "logger":
                found[ast.literal_eval(node.args[0])] = level
    assert found
    return found


def test_every_line_that_the_log_may_have_is_explained_and_no_other() -> None:
    explained = {row[0].strip("`"): row[1] for row in rows("docs/operations.md", "What the log says")[1:]}

    for text, level in logged().items():
        pattern = re.sub(r"%(\\?\.\d)?[srdfg]", ".+", re.escape(text))
        match = next((line for line in explained if re.fullmatch(pattern, line)), None)
        assert match is not None, f"not explained: {text}"
        assert explained.pop(match) == level, text
    assert not explained, "lines that nobody logs"


def test_every_key_in_redis_is_listed_in_the_design() -> None:
    listed = {row[0].strip("`").split(":")[0] for row in rows("docs/design.md", "What is in Redis")[1:]} - {"script"}
    used = set(re.findall(r"P \.\. '(\w+)", LUA)) - {"mail", "all"}

    assert listed == used | set(scripts.VERBS)


def test_every_redis_address_on_a_page_is_one_that_is_accepted() -> None:
    found = 0
    for page in PAGES:
        for url in re.findall(r"concurrency_url = \"(.+?)\"", text_of(page), re.IGNORECASE):
            found += 1
            assert is_redis_url(url), f"{page}: {url}"
            connect(url, {"master_name": "any"})  # makes no connection yet
    assert found >= 4


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for reference in re.findall(r"\]\((?!https?:)([^)]*)\)", text_of(page)):
            path, _, anchor = reference.partition("#")
            target = (ROOT / page).parent / path if path else ROOT / page
            assert target.exists(), f"{page}: {reference}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in anchors, f"{page}: {reference}"


def test_tests_that_a_page_names_exist() -> None:
    named = {name for page in PAGES for name in re.findall(r"\btest_\w+", text_of(page))}
    sources = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py"))
    files = {file.stem for file in (ROOT / "tests").rglob("test_*.py")}

    assert named, "what-happens-when.md names them"
    for name in named:
        assert name in files or f"def {name}(" in sources, name


def test_faults_that_a_page_names_are_those_of_the_campaign() -> None:
    page = "docs/what-happens-when.md"
    headings = re.findall(r"^## (.+)$", text_of(page), re.MULTILINE)
    named = {name for heading in headings for row in rows(page, heading) for name in re.findall(r"`([^`]+)`", row[0])}

    assert named == {fault.name for family in CAMPAIGN for fault in family.faults} - {"none"}


def test_every_fault_on_the_page_has_its_figures_and_the_command_that_repeats_it() -> None:
    page = "docs/what-happens-when.md"
    lines = [line for line in text_of(page).splitlines() if re.match(r"\| `[^`]+` \| ", line)]
    assert len(lines) == len({fault.name for family in CAMPAIGN for fault in family.faults} - {"none"})

    for line in lines:
        name, _, peak, lost, twice, leaked, idle, command = [cell.strip() for cell in line.strip("|").split("|")]
        running, limit = peak.split(" of ")
        assert int(running) <= int(limit)
        for count in (lost, twice, leaked):
            assert re.fullmatch(r"0( \(\+\d+\))?", count), line
        assert re.fullmatch(r"\d+\.\d+ s", idle), line
        assert command == f'`tox -e faults -- --fault "{name.strip("`")}"`'


#: Times and sizes on the pages, as they are written, and what they have to be.
CONSTANTS = [
    ("README.md", "after {:g} s of silence", SHORT_TIER),
    ("README.md", "within {:g} s, and work goes on", RECOVERY_MS / 1000),
    ("README.md", "over {} bytes", MAX_ID_BYTES),
    ("docs/settings.md", "over {} bytes", MAX_ID_BYTES),
    ("docs/settings.md", "is given up after {:g} s", SHORT_TIER),
    ("docs/settings.md", "less than {:g}; no number", 2 * SHORT_TIER),
    ("docs/operations.md", "one script every {:g} s", link.BEAT),
    ("docs/metrics.md", "one for each {} of them", operator._CHUNK),
    ("docs/metrics.md", "beyond the {:,} that are looked at", metrics_look.MOST_READ),
    ("docs/metrics.md", "the next free one of {}", figures.PORTS),
    ("docs/what-happens-when.md", "a heartbeat to Redis every {:g} s", link.BEAT),
    ("docs/what-happens-when.md", "for at most {:g} s", RECOVERY_MS / 1000),
    ("docs/what-happens-when.md", "a time-out of {:g} s", producers_line._TIMEOUT),
    ("docs/what-happens-when.md", "does not come within {:g} s", compat.GET_TIMEOUT),
    ("docs/position.md", "after {:g} s from the iterators", watching._PATIENCE),
    ("docs/position.md", "{:g} s after it ran", watching._GRACE),
    ("docs/position.md", "less than {:g} |", watching._OFTEN),
    ("docs/position.md", "wait for more than {:g} s although", expected._HELD_UP),
    ("docs/position.md", "Beyond {} tasks ahead", expected._ONE_BY_ONE),
    ("docs/position.md", "({} at the most)", expected._KNOWN),
    ("docs/position.md", "{} tasks a script", positions._TASKS),
    ("docs/position.md", "of {} names", int(re.findall(r"MOST_NAMES = (\d+)", LUA)[0])),
    ("docs/design.md", "usual one, {} at the most", int(re.findall(r"MOST_KINDS = (\d+)", LUA)[0])),
    ("docs/design.md", "silent for {:g} s, is dead", SHORT_TIER),
    ("docs/design.md", "heartbeats, every {:g} s", link.BEAT),
    ("docs/design.md", "for about {:g} s keeps nothing", link._FRESH),
    ("docs/design.md", "a *recovery* of at most {:g} s", RECOVERY_MS / 1000),
    ("docs/design.md", "lately taken less than {:g} s", ahead.SHORT_TASK),
    ("docs/design.md", "or since {:g} or more wait", ahead.PLENTY),
    ("docs/design.md", "lately taken less than {:g} ms", 1000 * reserve._VERY_SHORT),
    ("docs/design.md", "and {} or more ids are ready", reserve._MANY_IDS),
    ("docs/design.md", "as it has places, {} at the most", reserve._MOST),
    ("docs/design.md", "waited for a place for {:g} ms goes back", 1000 * reserve.Reserve.patience),
    ("docs/design.md", "the same way after {:g} minutes", parking._LONGEST / 60),
]


@pytest.mark.parametrize(("page", "phrase", "value"), CONSTANTS)
def test_times_and_sizes_on_a_page_are_those_of_the_package(page: str, phrase: str, value: float) -> None:
    assert phrase.format(value) in " ".join(text_of(page).split())


def test_lines_are_as_short_as_those_of_the_code() -> None:
    for page in PAGES:
        for number, line in enumerate(text_of(page).splitlines(), 1):
            assert "\t" not in line
            assert len(line) <= 120 or line.startswith("|") or "`http" in line, f"{page}:{number}"
