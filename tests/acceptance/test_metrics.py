"""What is scraped, held against what the tasks themselves wrote down."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from importlib.resources import files
from pathlib import Path
from typing import Any, Callable

import yaml
from prometheus_client import CollectorRegistry, generate_latest

from celery_concurrency_id import Concurrency
from celery_concurrency_id.metrics import ConcurrencyCollector
from docs.samples import text_of
from harness.commands import run_command, start_command
from harness.scrape import Scrape, parsed, port_in, scrape
from harness.servers import Servers
from harness.setup import Setup
from harness.waiting import wait
from harness.worker import CeleryProcess, WorkerNode

FIGURES = ("limit", "running", "waiting", "runnable", "blocked", "demand")
DASHBOARDS = files("celery_concurrency_id").joinpath("dashboards")


def url_of(exporter: CeleryProcess) -> str:
    """Wait until ``metrics --json`` says where it is."""
    line = wait(lambda: re.search(r'^{"url".*}$', exporter.logs(), re.MULTILINE), 40, exporter.logs)
    return str(json.loads(line[0])["url"])


def scrape_worker(worker: WorkerNode) -> Scrape:
    port = wait(lambda: port_in(worker.logs()), 30, worker.logs)
    return scrape(f"http://127.0.0.1:{port}/metrics")


def collected(setup: Setup, **options: Any) -> Scrape:
    """What the collector tells in a registry of the user's own."""
    registry = CollectorRegistry()
    collector: Any = ConcurrencyCollector(setup.app, **options)
    registry.register(collector)
    return parsed(generate_latest(registry).decode())


def names_in(expressions: str) -> set[str]:
    return set(re.findall(r"\bcelery_concurrency_\w+", expressions))


def expressions_of_the_dashboard() -> list[str]:
    dashboard = json.loads(DASHBOARDS.joinpath("grafana.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [*queries, *(each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query")]


def rules() -> list[dict[str, Any]]:
    text = DASHBOARDS.joinpath("alerts.yml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def test_demand_is_told_apart_and_an_outage_is_told(make_setup: Callable[..., Setup], servers: Servers) -> None:
    """Nobody serves ``free``: its tasks lack only a worker. Those beyond the limit of ``two``, and those of ``other``,
    which is paused, do not: an autoscaler must not count them."""
    redis = servers.redis()
    try:
        setup = make_setup(
            *("-Q", "celery,two,other"),
            concurrency_url=redis.celeryconfig["url"],
            concurrency_metrics_port=0,
            concurrency_metrics_host="127.0.0.1",
        )
        exporter = start_command(setup, "exporter", "concurrency", "metrics", "--port=0", "--json")
        control, gate = Concurrency(setup.app), setup.gate()
        control.pause("other")
        began = time.monotonic()
        results = setup.send_many("two", 10, gate=gate)
        results += setup.send_many("other", 3)
        unserved = setup.send_many("free", 4)
        running = setup.wait_running(2, "two")
        url = url_of(exporter)

        def told() -> bool:
            now = scrape(url)
            return [now.of(id, *FIGURES) for id in ("two", "other", "free", "one")] == [
                [2, len(running), 8, 0, 8, 2],
                [1, 0, 3, 0, 3, 0],
                [float("inf"), 0, 4, 4, 0, 4],
                [1, 0, 0, 0, 0, 0],
            ]

        wait(told, what=lambda: f"{scrape(url).series}; {setup.state()}")
        control.set("two", 3)
        setup.wait_running(3, "two")
        wait(lambda: scrape(url).of("two", *FIGURES) == [3, 3, 7, 0, 7, 3], what=lambda: scrape(url).series)
        now = scrape(url)
        assert [now.get("up"), now.get("recovering"), now.get("ids_summed"), now.get("ids_unread")] == [1, 0, 0, 0]
        assert now.of("two", "workers", "overridden", "paused", "taken_total") == [1, 1, 0, 3]
        assert now.of("other", "workers", "overridden", "paused", "taken_total") == [1, 0, 1, 0]
        assert now.of("free", "workers") == [0]
        assert 0 < (now.of("two", "waiting_age_seconds")[0] or 0) < time.monotonic() - began + 0.05
        assert now.of("one", "waiting_age_seconds") == [0]

        counts = ("outages_total", "recoveries_total")
        before = [scrape_worker(setup.worker).get(name) or 0 for name in counts]
        redis.stop()
        wait(lambda: scrape(url).get("up") == 0, 30, exporter.logs)
        assert scrape(url).all("running") == {}, "nothing is said of what is not known"
        wait(lambda: scrape_worker(setup.worker).get("semaphore_up") == 0, 30, setup.state)
        redis.start()
        wait(lambda: scrape(url).get("up") == 1, 30, exporter.logs)
        wait(lambda: scrape_worker(setup.worker).get("semaphore_up") == 1, 30, setup.state)
        own = scrape_worker(setup.worker)
        assert [own.get(name) for name in counts] == [each + 1 for each in before], "it came back without its data"
        assert own.get("worker_info", worker=setup.worker.hostname()) == 1

        gate.open()  # the pause is gone with the data
        setup.start_workers(1, "-Q", "free", concurrency=2)
        setup.wait_ended([*results, *unserved])
        wait(lambda: set(scrape(url).all("demand").values()) == {0}, what=lambda: scrape(url).series)
    finally:
        redis.teardown()


def test_a_worker_tells_hand_offs_waits_and_what_it_lost(make_setup: Callable[..., Setup]) -> None:
    conf = {"concurrency_metrics_port": 0, "concurrency_metrics_host": "127.0.0.1", "concurrency_lease_ttl": 3}
    setup = make_setup(workers=1, concurrency=2, concurrency_fetch_ahead=False, **conf)
    worker, count = setup.worker, 20
    before, after = [], []
    results = []
    for tag in range(count):
        before.append(time.monotonic_ns())
        results.append(setup.send("one", tag=tag, seconds=0.02))
        after.append(time.monotonic_ns())
    setup.wait_ended(results)

    now = scrape_worker(worker)
    asked = "\n".join([*expressions_of_the_dashboard(), *(rule["expr"] for rule in rules())])
    seen = now.names | collected(setup).names
    listed = set(re.findall(r"^\| `(celery_concurrency_\w+)`", text_of("docs/metrics.md"), re.MULTILINE))
    assert {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in seen} == listed
    assert names_in(asked) - seen == set(), "the dashboard and the rules ask for what nobody tells"
    # By the tasks' own log: each was published, and then waited until the one before had ended, and not longer than
    # until it started. A hand-off lies between an end and the next start.
    runs = setup.sweep.runs("one")
    assert [run.tag for run in runs] == list(range(count))
    longest = sum(run.start - before[run.tag] for run in runs) / 1e9
    shortest = sum(max(0, (last.end or 0) - after[run.tag]) for last, run in zip(runs, runs[1:])) / 1e9
    waits, waited = (
        now.get("waited_seconds_count", concurrency_id="one"),
        now.get("waited_seconds_sum", concurrency_id="one"),
    )
    assert waits == count
    assert shortest - 0.05 <= (waited or 0) <= longest + 0.05, "two clocks"
    hand_offs = now.get("handoff_seconds_count", concurrency_id="one") or 0
    between = now.get("handoff_seconds_sum", concurrency_id="one") or 0
    assert 1 <= hand_offs < count
    # Each has to get its message from the broker: that alone takes so long.
    assert 3e-5 * hand_offs < between <= sum(setup.sweep.gaps("one"))
    assert (now.get("script_seconds_count", script="turn") or 0) > 0
    assert 0 < (now.get("script_seconds_sum", script="join") or 0) < 30

    # The worker sleeps for longer than its lease: others take its slots.
    gate = setup.gate()
    running = setup.send("one", gate=gate)
    setup.wait_running(1, "one")
    [other] = setup.start_workers(1, concurrency=2)
    next_one = setup.send("one", gate=gate)
    assert scrape_worker(worker).get("slots_lost_total") == 0
    worker.container.kill("SIGSTOP")
    try:
        setup.wait_running(2, "one", 40)
        assert scrape_worker(other).get("workers_expired_total") == 1
    finally:
        worker.container.kill("SIGCONT")
    wait(lambda: scrape_worker(worker).get("slots_lost_total") == 1, 30, setup.state)
    assert (scrape_worker(worker).get("leases_lost_total") or 0) >= 1
    assert worker.logs().count("was lost with this worker's lease") == 1
    gate.open()
    setup.wait_ended([running, next_one])


def test_a_thousand_ids_make_no_more_series_than_they_may(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(workers=0, many=1000)
    expected = {"many.007": 5, "many.500": 3, "tenant-blue": 2}
    for id, count in expected.items():
        name, options = ("tenant", {"tenant": "blue"}) if id.startswith("tenant") else (id, {})
        setup.send_many(name, count, **options)
    for number in range(20):
        setup.send("tenant", tenant=f"t{number}")
    control = Concurrency(setup.app)
    wait(lambda: sum(each.waiting for each in control.list()) == 30, what="all are announced")

    now = collected(setup, most=3)
    assert set(now.all("limit")) == set(expected)
    assert set(now.all("waiting")) == {*expected, "all others"}
    assert {id: now.of(id, "waiting")[0] for id in expected} == expected
    assert now.of("all others", "waiting", "runnable", "demand") == [20, 20, 20]
    assert (now.get("ids") or 0) > 1000
    assert now.get("ids_summed") == (now.get("ids") or 0) - 3
    bounded = len(now.series)
    assert bounded < 70

    assert "one" in collected(setup, most=3, always=["one"]).all("limit")
    everything = collected(setup, most=5000)
    assert sum(everything.all("waiting").values()) == sum(now.all("waiting").values()) == 30
    assert len(everything.series) > 10_000 > 100 * bounded


def test_the_command_says_what_is_missing_and_prints_what_goes_with_it(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(workers=0)
    once = parsed(run_command(setup, "concurrency", "metrics", "--once", "--id=two").stdout)
    assert once.of("two", "limit", "waiting") == [2, 0]
    dashboard = json.loads(run_command(setup, "concurrency", "metrics", "--dashboard").stdout)
    assert dashboard["title"] == "Celery concurrency limits"
    assert [each["alert"] for each in rules()] == re.findall(
        r"alert: (\w+)", run_command(setup, "concurrency", "metrics", "--rules").stdout
    )
    port = setup.backend.container.celeryconfig["port"]
    done = run_command(setup, "concurrency", "metrics", "--host=127.0.0.1", f"--port={port}")
    assert done.returncode == 1 and f"port {port} on 127.0.0.1 cannot be had" in done.stderr + done.stdout

    hidden = setup.directory / "hidden"
    hidden.mkdir()
    (hidden / "prometheus_client.py").write_text("raise ImportError('not here')\n", encoding="utf-8")
    done = run_command(setup, "concurrency", "metrics", hide=hidden)
    assert done.returncode == 1
    assert "pip install 'celery-concurrency-id[metrics]'" in done.stderr + done.stdout


def test_the_rules_and_the_queries_are_what_prometheus_takes(tmp_path: Path) -> None:
    """By promtool, where it is; else by their form."""
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"CeleryConcurrency\w+", rule["alert"])
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]
    queries = [
        query.replace("$__rate_interval", "5m").replace("$id", ".*")
        for query in expressions_of_the_dashboard()
        if not query.startswith("label_values")
    ]
    for expression in [*queries, *(rule["expr"] for rule in rules())]:
        assert names_in(expression)
        for opening, closing in ("()", "{}", "[]"):
            assert expression.count(opening) == expression.count(closing), expression
    promtool = shutil.which("promtool")
    if promtool:
        recorded = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
        groups = [{"name": "rules", "rules": rules()}, {"name": "dashboard", "rules": recorded}]
        path = tmp_path / "rules.yml"
        path.write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
        subprocess.run([promtool, "check", "rules", str(path)], check=True)
