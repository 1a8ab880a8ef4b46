"""What operations.md says about the Redis that holds the slots, tried on one."""

from __future__ import annotations

import re
import uuid
from typing import Any, Callable

from celery_concurrency_id.semaphore import keys, scripts
from docs.samples import text_of
from harness.servers import Servers
from harness.setup import Setup
from harness.waiting import wait


def acl_rules() -> list[str]:
    """The rules of the user on the page."""
    rules = re.search(r"^user celery-slots (on .+?)^```", text_of("docs/operations.md"), re.MULTILINE | re.DOTALL)
    assert rules
    return rules[1].split()


def test_the_commands_that_scripts_use_are_those_of_the_user_on_the_page() -> None:
    source = "".join(scripts.load(verb).source for verb in scripts.VERBS)
    used = {command.lower() for command in re.findall(r"redis\.call\('(\w+)'", source)} - {"pubsub"}
    allowed = {rule[1:] for rule in acl_rules() if rule.startswith("+")}

    sent_by_the_client = {"evalsha", "eval", "info", "select", "ping", "subscribe", "pubsub|channels", "blpop"}
    assert allowed - sent_by_the_client == used


def test_a_redis_user_with_the_rules_on_the_page_can_do_everything(
    make_setup: Callable[..., Setup], servers: Servers
) -> None:
    """The server's own log of refusals is the judge."""
    server = servers.redis()
    try:
        admin = server.client
        admin.execute_command("ACL", "SETUSER", "celery-slots", *acl_rules())
        port = server.celeryconfig["port"]
        setup = make_setup(workers=2, concurrency_url=f"redis://celery-slots:SECRET@127.0.0.1:{port}/3")
        setup.wait_ended(setup.send_many("one", 5))

        gate = setup.gate()
        running = setup.send("two", gate=gate)
        setup.wait_running(1, "two")
        victim = setup.workers[1].container
        victim.kill()  # its lease ends
        wait(lambda: "is gone" in setup.workers[0].logs() or setup.running("two") == [], what=setup.state)
        admin.flushall()  # all join again
        gate.open()
        setup.wait_ended(setup.send_many("one", 5))

        assert running.id
        refused = {entry["object"] for entry in admin.acl_log() if entry["username"] == "celery-slots"}
        assert refused <= {"client", "client|setinfo"}, refused
        assert server.client.info("keyspace")["db3"]["keys"], "it was used"
    finally:
        server.teardown()


def test_a_waiting_task_takes_about_the_memory_that_the_page_says(servers: Servers) -> None:
    said = re.search(r"about (\d+) bytes for each waiting task", text_of("docs/operations.md"))
    assert said
    server = servers.redis()
    try:
        client: Any = server.client
        script, count = scripts.load("announce"), 20_000
        client.script_load(script.source)
        before = client.info("memory")["used_memory"]
        for _ in range(count // 1000):
            pipe = client.pipeline(transaction=False)
            for _ in range(1000):
                pipe.evalsha(script.sha, 1, keys.prefix("celery"), "gpu_queue", str(uuid.uuid4()), 0, "", 0, "0 render")
            pipe.execute()
        each = (client.info("memory")["used_memory"] - before) / count
    finally:
        server.teardown()
    assert 0.5 * int(said[1]) < each < 1.5 * int(said[1])
