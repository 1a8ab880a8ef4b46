"""`python -m benchmarks`: what a shared limit costs, in ratios to plain Celery within the same run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.measures import MEASURES
from benchmarks.report import Row, table


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", action="append", choices=list(MEASURES), help="one measure; may be repeated")
    parser.add_argument("--broker", choices=["redis", "rabbitmq"], default="redis")
    parser.add_argument("--rounds", type=int, help="rounds of each comparison")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures, round by round")
    parser.add_argument("--null", action="store_true", help="plain Celery on both sides: shows this machine's noise")
    parser.add_argument("--keep", action="store_true", help="keep the logs of workers and servers, and say where")
    return parser.parse_args()


def environment(options: argparse.Namespace) -> dict[str, object]:
    packages = {name: version(name) for name in ("celery", "kombu", "redis")}
    return {
        "python": platform.python_version(),
        **packages,
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),  # of the last minute, before we start: others disturb the figures
        "broker": options.broker,
        "quick": options.quick,
        "null": options.null,
    }


def run(options: argparse.Namespace, directory: Path) -> int:
    facts = environment(options)
    print("  ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    rows: dict[str, list[Row]] = {}
    failed: list[str] = []
    with Bench(directory, options.broker, options.quick, options.null, options.rounds) as bench:
        for name in options.only or MEASURES:
            measure, title = MEASURES[name]
            began = time.monotonic()
            try:
                rows[name] = measure(bench)
            except Exception:
                traceback.print_exc()
                failed.append(name)
                continue
            print(f"\n{table(f'{name}: {title}', rows[name])}\n  ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"\nIn all runs together: {bench.faults}.")
    if failed:
        print(f"Could not be measured: {', '.join(failed)}.")
    if options.json:
        figures = {name: [{**asdict(row), "verdict": row.verdict} for row in group] for name, group in rows.items()}
        report = {"environment": facts, "figures": figures, "faults": asdict(bench.faults), "failed": failed}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if bench.faults or failed else 0


def main() -> int:
    options = arguments()
    # A kill unwinds like Ctrl-C, so that no server or worker of ours survives.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    directory = Path(tempfile.mkdtemp(prefix="benchmarks-"))
    try:
        return run(options, directory)
    finally:
        if options.keep:
            print(f"Logs in {directory}.")
        else:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
