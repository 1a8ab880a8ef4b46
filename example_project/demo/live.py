"""The picture while it happens: a table that redraws itself in a terminal, one line per event elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.journal import Journal, Run

STYLES = {"waiting": "yellow", "running": "bold green", "done": "dim"}


class View:
    """Shows a journal; used as `with View(console, journal, limit) as view: view.show(news)`."""

    def __init__(self, console: Console, journal: Journal, limit: int) -> None:
        self.journal, self.limit = journal, limit
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def show(self, news: list[tuple[str, Run]]) -> None:
        """Bring the picture up to date.

        Args:
            news: The starts and ends since the last call.
        """
        if self._live:
            self._live.update(_picture(self.journal, self.limit), refresh=True)
            return
        for event, run in news:
            moment = run.started if event == "start" else run.ended
            assert moment is not None
            job = run.job
            print(f"{moment - run.submitted:6.2f} s  {event:5}  {job.task} {job.what} on {run.worker}", flush=True)

    def __enter__(self) -> View:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()


def _picture(journal: Journal, limit: int) -> RenderableType:
    running, waiting = len(journal.gpu("running")), len(journal.gpu("waiting"))
    head = Text.assemble(
        ("gpu_queue  ", "bold"),
        (f"{running} running, limit {limit}", STYLES["running"]),
        f"  {waiting} waiting  {len(journal.gpu('done'))} done",
    )
    table = Table(box=None, padding=(0, 1))
    for title in ("task", "what", "state", "where"):
        table.add_column(title, no_wrap=True)
    table.add_column("progress", width=24)
    for run in journal.gpu() + journal.ordinary():
        state = Text(run.state, STYLES[run.state])
        bar = ProgressBar(total=1.0, completed=run.done, width=24) if run.state != "waiting" else ""
        table.add_row(run.job.task, run.job.what, state, run.worker, bar)
    return Group(head, table)
