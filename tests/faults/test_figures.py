"""The script that writes figures into the page: the worst counts, and what was not measured stays."""

from __future__ import annotations

from typing import Any

from faults.figures import filled

PAGE = """\
| `struck` | before the tables | – | – | – | – | – | again |
<!-- figures -->
| fault | what you see | most at once | lost | twice | leaked | idle | command |
|---|---|---|---|---|---|---|---|
| `struck` | little | – | – | – | – | – | `again --fault "struck"` |
| `spared` | nothing | 1 of 1 | 0 | 0 | 0 | 0.01 s | `again` |
| soon back | – | – | `again -k soon` |
<!-- end of figures -->
| `struck` | after them | – | – | – | – | – | again |
""".splitlines()


def row(**more: Any) -> dict[str, Any]:
    usual = {"fault": "struck", "peak": 2, "limit": 2, "lost": 0, "lost_excused": 0, "twice": 0, "twice_excused": 0}
    return {**usual, "leaked": 0, "recovered": [0.5], "probe": 0.1, **more}


def run(*rows: dict[str, Any], seconds: tuple[float, ...] = (0.01, 0.02)) -> dict[str, Any]:
    return {"faults": list(rows), "recovery": [{"name": "soon back", "seconds": list(seconds), "goal": 0.1}]}


def test_of_several_runs_the_worst_is_shown() -> None:
    runs = [run(row(twice_excused=1)), run(row(peak=1, lost=1, recovered=[0.25, 1.5], twice_excused=2))]

    page = list(filled(PAGE, runs))

    assert page[4] == '| `struck` | little | 2 of 2 | 1 | 0 (+3) | 0 | 1.50 s | `again --fault "struck"` |'
    assert page[6] == "| soon back | 0.1 s | 0.010 to 0.020 s | `again -k soon` |"
    assert [page[at] for at in (0, 1, 2, 3, 5, 7, 8)] == [PAGE[at] for at in (0, 1, 2, 3, 5, 7, 8)]


def test_a_limit_that_was_exceeded_once_is_not_hidden_by_runs_in_which_it_held() -> None:
    page = list(filled(PAGE, [run(row(peak=3), row(peak=8, limit=8))]))

    assert "| 3 of 2 |" in page[4]


def test_a_run_that_did_not_get_to_its_end_has_no_figures() -> None:
    assert list(filled(PAGE, [run(row(probe=None))]))[4] == PAGE[4]
