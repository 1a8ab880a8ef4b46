"""Scrapes as Prometheus does: over HTTP, with the parser of prometheus-client."""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

__all__ = ("Scrape", "parsed", "scrape")


@dataclass
class Scrape:
    """What was told: every series with its value, and the names by which a query may ask for them."""

    series: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.series}

    def get(self, name: str, **labels: str) -> float | None:
        """The value of ``celery_concurrency_NAME`` with exactly these labels."""
        return self.series.get((f"celery_concurrency_{name}", frozenset(labels.items())))

    def of(self, id: str, *names: str) -> list[float | None]:
        """Several values of an id."""
        return [self.get(name, concurrency_id=id) for name in names]

    def all(self, name: str) -> dict[str, float]:
        """The values of ``celery_concurrency_NAME`` by id."""
        return {
            dict(labels).get("concurrency_id", ""): value
            for (each, labels), value in self.series.items()
            if each == f"celery_concurrency_{name}"
        }


def parsed(text: str) -> Scrape:
    """Read what was told."""
    found = Scrape()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found.series, f"told twice: {key}"
            found.series[key] = sample.value
    return found


def scrape(url: str) -> Scrape:
    """Ask over HTTP, past any proxy of this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        assert answer.status == 200
        return parsed(answer.read().decode())


def port_in(log: str) -> int | None:
    """The port that a worker says it serves metrics on."""
    found = re.search(r"concurrency: metrics on \S+, port (\d+)", log)
    return int(found[1]) if found else None
