"""Which fault strikes in which circumstances."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from faults import broker_faults, semaphore_faults, worker_faults
from faults.campaign import Fault
from faults.scene import Config

EVERYWHERE = tuple(
    Config(*row) for row in itertools.product(("redis", "rabbitmq"), (1, 2, 8), (True, False), ("prefork", "threads"))
)


@dataclass(frozen=True)
class Family:
    """Faults, where each strikes in the long form, and where they strike in turn in the short one."""

    faults: tuple[Fault, ...]
    short: tuple[Config, ...]
    long: tuple[Config, ...]

    def pairs(self, long: bool) -> Iterator[tuple[Config, Fault]]:
        for number, fault in enumerate(self.faults):
            configs = [config for config in (self.long if long else self.short) if _possible(fault, config)]
            yield from ((config, fault) for config in (configs if long else [configs[number % len(configs)]]))


def _possible(fault: Fault, config: Config) -> bool:
    return config.pool == "prefork" or not fault.needs_processes


def _with(semaphore: str, *configs: Config) -> tuple[Config, ...]:
    return tuple(replace(config, semaphore=semaphore) for config in configs)


# Between them: both brokers, all limits, both kinds of acknowledgement, both pools.
_REDIS_LATE = Config("redis", 2, True, "prefork")
_REDIS_EARLY = Config("redis", 1, False, "threads")
_RABBIT_EARLY = Config("rabbitmq", 8, False, "prefork")
_RABBIT_LATE = Config("rabbitmq", 2, True, "threads")

CAMPAIGN = (
    Family(worker_faults.FAULTS, (_RABBIT_EARLY, _REDIS_LATE, _RABBIT_LATE, _REDIS_EARLY), EVERYWHERE),
    Family(semaphore_faults.OWN, (_REDIS_LATE, _RABBIT_EARLY, _REDIS_EARLY, _RABBIT_LATE), EVERYWHERE),
    Family(broker_faults.FAULTS, (_REDIS_LATE, _RABBIT_EARLY), EVERYWHERE),
    Family(broker_faults.FAULTS, (_RABBIT_EARLY, _REDIS_LATE), ()),
    Family(
        semaphore_faults.NETWORK,
        _with("proxied", Config("redis", 2, True, "prefork")),
        _with("proxied", *EVERYWHERE),
    ),
    Family(
        broker_faults.NETWORK,
        _with("lined", Config("rabbitmq", 2, True, "prefork")),
        _with("lined", *(config for config in EVERYWHERE if config.broker == "rabbitmq")),
    ),
    Family(
        semaphore_faults.FAILOVER,
        _with("sentinel", Config("redis", 2, True, "prefork")),
        _with("sentinel", *EVERYWHERE[::5]),
    ),
    # One Redis for everything: what breaks, breaks broker and semaphore at once.
    Family(
        broker_faults.SHARED,
        _with("broker", Config("redis", 2, True, "prefork")),
        _with("broker", *(config for config in EVERYWHERE if config.broker == "redis")),
    ),
)
