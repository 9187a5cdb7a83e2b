"""What the server starts from."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import cast, get_args

from feature_store.environment import known_word, whole_number
from feature_store.errors import StackError
from feature_store.online.read.cache import CACHE_ENTRIES
from feature_store.online.read.cluster import Replicas
from feature_store.online.read.functions import LIMIT_SECONDS
from feature_store.online.read.node import DEADLINE_SECONDS, MOST_WAITING
from feature_store.settings import Settings
from serving.rest.bodies import SECONDS
from serving.tls import ServingTls
from serving.traces.settings import traces_wanted
from serving.training import TrainingLimits

DEFAULT_PORT = 14090
DEFAULT_GRPC_PORT = 14091
DRAIN_SECONDS = 10
"""How long requests that have begun may take after SIGTERM."""
SILENT_SECONDS = 10
"""How long one of several processes may be silent before it is killed."""


@dataclass(frozen=True)
class ServingSettings:
    """Where the server listens and what it reads.

    Attributes:
        redis_url: the default online store.
        online_stores: the other ones, by name.
        replicas: whether replicas of a Redis Cluster answer.
        registry_url: SQLAlchemy URL of the registry.
        snapshot: the file that keeps the last definitions for a start without the registry.
        packages: those that functions of on-demand features may be imported from.
        training: how training jobs are taken.
        serving_host, serving_port, serving_grpc_port: where it listens; 0 is any free port.
        dagster_url: Dagster's web server, which is told of new groups; empty: nobody is told.
        tokens_required: whether every request needs a token; without that it may only be one of this machine.
        most_waiting: commands that may wait for Redis at once; requests beyond them get a 503.
        cache: values that are remembered of groups which allow it; 0: none.
        deadline: seconds that Redis has for an answer; after that entities are UNAVAILABLE.
        request_seconds: how long the head of a request may take to arrive, and its body after that.
        function_limit: seconds that the function of an on-demand feature may take.
        rate: requests per second that each token may make; 0: any number.
        tls: the certificates; None: connections are not encrypted.
        processes: how many serve, on the same ports.
        silent_seconds: how long the event loop of one of them may hang before it is killed, and another one started.
        traces: whether requests are traced; OpenTelemetry's own variables say the rest.
        native: the folder of the native core, which is compiled into it if it is not there; None: Python answers.
    """

    redis_url: str
    registry_url: str
    snapshot: Path
    packages: tuple[str, ...]
    training: TrainingLimits
    serving_host: str = "127.0.0.1"
    serving_port: int = DEFAULT_PORT
    serving_grpc_port: int = DEFAULT_GRPC_PORT
    most_waiting: int = MOST_WAITING
    cache: int = CACHE_ENTRIES
    dagster_url: str = ""
    tokens_required: bool = False
    deadline: float = DEADLINE_SECONDS
    request_seconds: int = SECONDS
    function_limit: float = LIMIT_SECONDS
    rate: int = 0
    tls: ServingTls | None = None
    processes: int = 1
    silent_seconds: int = SILENT_SECONDS
    native: Path | None = None
    online_stores: Mapping[str, str] = field(default_factory=dict, hash=False)
    replicas: Replicas = "never"
    traces: bool = False

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> ServingSettings:
        """The settings of this process; a variable of the environment wins over the running stack.

        Raises:
            StackError: if a service is named by neither, or a variable makes no sense; if the address is one of a
                network and tokens are switched off.
        """
        settings = Settings.load(environ)
        host = environ.get("FS_SERVING_HOST") or "127.0.0.1"
        return cls(
            redis_url=settings.redis_url,
            registry_url=settings.database_url("registry"),
            snapshot=settings.home / "serving" / "definitions.json",
            packages=settings.definition_packages,
            training=TrainingLimits.load(environ, settings),
            serving_host=host,
            serving_port=_port(environ, "FS_SERVING_PORT", DEFAULT_PORT),
            serving_grpc_port=_port(environ, "FS_SERVING_GRPC_PORT", DEFAULT_GRPC_PORT),
            dagster_url=settings.dagster_url,
            tokens_required=_tokens_required(environ, host),
            most_waiting=whole_number(
                environ, "FS_SERVING_QUEUE", MOST_WAITING, least=1, most=10**6, noun="count", code="serving-queue"
            ),
            cache=whole_number(
                environ, "FS_SERVING_CACHE", CACHE_ENTRIES, least=0, most=10**7, noun="count", code="serving-cache"
            ),
            deadline=_milliseconds_in(environ, "FS_SERVING_DEADLINE", DEADLINE_SECONDS, code="serving-deadline"),
            request_seconds=_seconds_in(environ, "FS_SERVING_REQUEST_SECONDS", SECONDS, code="serving-request-seconds"),
            silent_seconds=_seconds_in(environ, "FS_SERVING_SILENCE", SILENT_SECONDS, code="serving-silence"),
            function_limit=_milliseconds_in(
                environ, "FS_SERVING_ON_DEMAND_DEADLINE", LIMIT_SECONDS, code="on-demand-deadline"
            ),
            rate=whole_number(environ, "FS_SERVING_RATE", 0, least=0, most=10**6, noun="rate", code="serving-rate"),
            tls=ServingTls.load(environ),
            processes=_processes(environ),
            native=settings.home / "native" if _is_native(environ) else None,
            online_stores=settings.online_stores,
            replicas=_replicas(environ),
            traces=traces_wanted(environ),
        )


def _replicas(environ: Mapping[str, str]) -> Replicas:
    known = get_args(Replicas)
    said = known_word(
        environ, "FS_SERVING_REPLICAS", known, "never", says="whether replicas answer", code="serving-replicas"
    )
    return cast("Replicas", said)


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    return whole_number(environ, name, default, least=0, most=65_535, noun="port", code="port")


def _seconds_in(environ: Mapping[str, str], name: str, default: int, *, code: str) -> int:
    return whole_number(environ, name, default, least=1, most=3_600, noun="number of seconds", code=code)


def _milliseconds_in(environ: Mapping[str, str], name: str, default: float, *, code: str) -> float:
    """Seconds, which the variable has as milliseconds."""
    given, noun = round(default * 1_000), "number of milliseconds"
    return whole_number(environ, name, given, least=1, most=60_000, noun=noun, code=code) / 1_000


def _processes(environ: Mapping[str, str]) -> int:
    """A number, or one for each core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    if environ.get("FS_SERVING_PROCESSES") == "auto":
        return cores
    number = whole_number(
        environ, "FS_SERVING_PROCESSES", 1, least=1, most=256, noun="number of processes", code="serving-processes"
    )
    if number > 1 and sys.platform != "linux":
        raise StackError(
            "several processes share a port only on Linux",
            where="FS_SERVING_PROCESSES",
            remedy="leave it out, and start servers on ports of their own",
            code="serving-processes",
        )
    return number


def _tokens_required(environ: Mapping[str, str], host: str) -> bool:
    """Whether requests need a token: on an address of a network always, on one of this machine if it is said."""
    known = ("required", "none")
    said = known_word(
        environ, "FS_SERVING_TOKENS", known, "", says="whether requests need a token", code="serving-tokens"
    )
    if _is_loopback(host):
        return said == "required"
    if said == "none":
        raise StackError(
            f"{host} is not an address of this machine alone, and everybody there could read without a token",
            where="FS_SERVING_TOKENS",
            remedy="leave it out, and make tokens: ./fs token create",
            code="open-address",
        )
    return True


def _is_native(environ: Mapping[str, str]) -> bool:
    known = ("on", "off")
    said = known_word(
        environ, "FS_SERVING_NATIVE", known, "on", says="whether the native core is used", code="serving-native"
    )
    return said == "on"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
