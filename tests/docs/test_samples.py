"""Every sample runs, and prints what the page says that it prints."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from docs.samples import PAGES, samples_of, text_of
from docs.session import Session
from harness.process import free_port
from harness.servers import Servers

#: How many samples of a page are not run; each says why, in a comment before it.
NOT_RUN = {
    "README.md": 5,
    "docs/comparison.md": 1,
    "docs/metrics.md": 2,
    "docs/operations.md": 2,
    "docs/what-happens-when.md": 1,
}


@pytest.mark.parametrize("page", [page for page in PAGES if samples_of(page)])
def test_the_samples_of_a_page_run_one_after_another(page: str, servers: Servers, tmp_path: Path) -> None:
    redis = servers.redis()
    addresses = {"localhost:6379": f"127.0.0.1:{redis.celeryconfig['port']}", "5580": str(free_port())}
    session = Session(tmp_path, addresses)
    try:
        for sample in samples_of(page):
            if sample.not_run:
                continue
            printed = session.run(sample)
            if sample.output is not None:
                where = f"{page}:{sample.line}\n{session.logs()}"
                assert _steady(printed) == _steady(sample.output), where
            if page == "README.md" and sample.output is not None:
                _two_at_once(printed)
        session.check()
    finally:
        session.stop()
        redis.teardown()


def test_a_sample_that_is_a_file_is_run_by_one_after_it() -> None:
    for page in PAGES:
        samples = samples_of(page)
        for number, sample in enumerate(samples):
            if sample.file and not sample.not_run:
                later = "\n".join(after.code for after in samples[number + 1 :] if not after.not_run)
                name = sample.file.split("/")[0].removesuffix(".py")  # of the module, or of its package
                assert re.search(rf"(from|import|-A|python) {name}\b", later), f"{page}:{sample.line}"


def test_samples_that_are_not_run_are_few_and_say_why() -> None:
    counted = Counter(page for page in PAGES for sample in samples_of(page) if sample.not_run)

    assert counted == NOT_RUN


def test_no_code_hides_in_blocks_of_another_language() -> None:
    """A block that nobody runs must not look like one that somebody does."""
    for page in PAGES:
        languages = set(re.findall(r"^```(\w+)$", text_of(page), re.MULTILINE))
        assert languages <= {"python", "bash", "text"}, page


def _two_at_once(printed: str) -> None:
    """The README's output is compared without the seconds; these are what the limit is about."""
    seconds = {line.split(" after ")[0]: float(line.split()[-2]) for line in printed.splitlines()}
    images = sorted(after for name, after in seconds.items() if not name.startswith("thumbnail"))
    assert len(images) == 6
    for number, after in enumerate(images):
        assert after >= number // 2 + 1, f"the limit is two, each takes a second: {printed}"
    assert seconds["thumbnail 6"] < images[-1], "an ordinary task does not wait for them"


def _steady(text: str) -> list[str]:
    """Without what differs from run to run: seconds, tokens."""
    return [re.sub(r"\d+(\.\d+)? s\b", "N s", re.sub(r"\d{16}", "TOKEN", line)) for line in text.strip().splitlines()]
