"""The settings of `./fs up`, out of the environment alone: `settings.py` lists the variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from feature_store.environment import folder, server_url, store_urls, whole_number
from feature_store.flink_clusters import flink_clusters
from feature_store.settings import REPOSITORY, flink_state, state_folder, warehouse

DEFAULT_PORT = 14050
LARGEST_POOL = 1000
"""Slots of a pool that Dagster takes at most."""


@dataclass(frozen=True)
class StackSettings:
    """What `./fs up` starts from: which services exist already, and where the others may be made.

    Attributes:
        home: the state folder.
        port: the first port of the embedded services.
        port_is_chosen: whether the user named that port, so that no other one will do.
        pg_url, redis_url: existing servers; empty for the embedded ones.
        online_stores: existing servers that groups may name.
        java_home: an existing Java; None for the embedded one.
        kafka, flink_url: an existing Kafka and Flink cluster; empty for the embedded ones.
        flink_deploy, flink_kernel: what application clusters are started with, and where they find the kernel's jar.
        flink_secrets: where Flink's machines have the password of Kafka; empty: where it lies here.
        flink_python: the Python of an existing Flink environment; None for one of our own.
        flink_state: the URL under which Flink keeps its checkpoints and savepoints.
        warehouse: the URL under which Iceberg keeps its files.
        jars: the folder of downloaded jars.
        jar_mirror: a repository in Maven layout; empty for the resolver's own.
        workspace: Dagster's workspace file.
        pool_slots: how many steps of one Dagster pool run at once.
    """

    home: Path
    port: int
    port_is_chosen: bool
    pg_url: str
    redis_url: str
    java_home: Path | None
    jars: Path
    jar_mirror: str
    workspace: Path
    pool_slots: int = 1
    kafka: str = ""
    flink_url: str = ""
    flink_deploy: str = ""
    flink_kernel: str = ""
    flink_secrets: str = ""
    flink_python: Path | None = None
    flink_state: str = ""
    warehouse: str = ""
    online_stores: dict[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> StackSettings:
        """Reads the environment only; nothing has to run.

        Raises:
            StackError: if a variable makes no sense.
        """
        home = state_folder(environ)
        java_home, flink_python = environ.get("FS_JAVA_HOME"), environ.get("FS_FLINK_PYTHON")
        return cls(
            home=home,
            port=whole_number(environ, "FS_PORT", DEFAULT_PORT, least=1024, most=65_000, noun="port", code="port"),
            port_is_chosen=bool(environ.get("FS_PORT")),
            pg_url=server_url(environ, "FS_PG_URL"),
            redis_url=environ.get("FS_REDIS_URL", ""),
            java_home=Path(java_home).expanduser().resolve() if java_home else None,
            jars=folder(environ.get("FS_JARS_DIR") or home / "jars"),
            jar_mirror=environ.get("FS_JAR_MIRROR", "").rstrip("/"),
            workspace=folder(environ.get("FS_WORKSPACE") or REPOSITORY / "workspace.yaml"),
            pool_slots=whole_number(
                environ, "FS_POOL_SLOTS", 1, least=1, most=LARGEST_POOL, noun="number of slots", code="pool-slots"
            ),
            kafka=environ.get("FS_KAFKA", ""),
            **flink_clusters(environ),
            flink_secrets=environ.get("FS_FLINK_SECRETS", ""),
            flink_python=Path(flink_python).expanduser().absolute() if flink_python else None,  # a link by purpose
            flink_state=flink_state(environ),
            warehouse=warehouse(environ),
            online_stores=store_urls(environ, "FS_ONLINE_STORES"),
        )

    def to_json(self) -> bytes:
        """For the supervisor; with passwords, so not for its command line."""
        return msgspec.json.encode(self, enc_hook=str)

    @classmethod
    def from_json(cls, text: bytes) -> StackSettings:
        return msgspec.json.decode(text, type=cls, dec_hook=lambda kind, value: kind(value))

    def as_text(self) -> dict[str, str]:
        """For the record: what to compare a later call with. Without passwords."""
        shown = {
            "FS_PORT": str(self.port),
            "FS_JAVA_HOME": str(self.java_home or ""),
            "FS_WORKSPACE": str(self.workspace),
            "FS_POOL_SLOTS": str(self.pool_slots),
            "FS_KAFKA": self.kafka.rpartition("@")[2],
            "FS_FLINK_URL": self.flink_url,
            "FS_FLINK_DEPLOY": self.flink_deploy,
            "FS_FLINK_KERNEL": self.flink_kernel,
            "FS_FLINK_SECRETS": self.flink_secrets,
            "FS_FLINK_PYTHON": str(self.flink_python or ""),
            "FS_FLINK_STATE": self.flink_state,
            "FS_WAREHOUSE": self.warehouse,
        }
        for name, url in (("FS_PG_URL", self.pg_url), ("FS_REDIS_URL", self.redis_url)):
            shown[name] = urlsplit(url).netloc.rpartition("@")[2]
        for name, url in self.online_stores.items():
            shown[f"FS_ONLINE_STORES {name}"] = urlsplit(url).netloc.rpartition("@")[2]
        return shown
