"""Every environment variable of the feature store, read in this place and nowhere else (by `environment.py`).

| variable            | what it sets                                                    | default                      |
|---------------------|-----------------------------------------------------------------|------------------------------|
| FS_HOME             | the state folder: all that is made at run time                  | `.fs` in the repository      |
| FS_PG_URL           | a PostgreSQL server: `postgresql://user:password@host:port`     | the embedded one             |
| FS_REDIS_URL        | a Redis or Valkey server: `redis://:password@host:port/0`       | the embedded one             |
|                     | or some nodes of a cluster: `redis://host:port,host:port`       |                              |
| FS_ONLINE_STORES    | more of them, for groups that name one: `hot=redis://host:port` | none                         |
|                     | separated by commas                                             |                              |
| FS_JAVA_HOME        | a Java 17 or 21 to run Spark, Kafka and Flink on                | the embedded one             |
| FS_KAFKA            | a Kafka: `host:port,host:port`, or see `kafka_address.py`       | the embedded one             |
| FS_FLINK_URL        | the REST address of a Flink 2.1 session cluster                 | the embedded one             |
|                     | or, with `{job}` in it, of each job's application cluster       |                              |
| FS_FLINK_DEPLOY     | a command that starts and ends application clusters             | none: a session cluster      |
| FS_FLINK_KERNEL     | where application clusters find the kernel's jar (path or URL)  | where it lies here           |
| FS_FLINK_PYTHON     | a Python that has apache-flink 2.1, to submit jobs with         | in `<FS_HOME>/flink-venv`    |
| FS_FLINK_SECRETS    | the folder where Flink's machines have `kafka.properties`       | `<FS_HOME>/secrets`          |
| FS_FLINK_STATE      | where Flink keeps checkpoints and savepoints, as a URL          | `file://<FS_HOME>/flink`     |
| FS_WAREHOUSE        | where Iceberg keeps its files, as a URL (`s3://bucket/prefix`)  | `file://<FS_HOME>/warehouse` |
| FS_S3_ENDPOINT      | an S3 server other than AWS: `http://host:port`                 | AWS                          |
| FS_S3_REGION        | its region                                                      | AWS_REGION; what AWS finds   |
| FS_S3_PATH_STYLE    | whether requests name the bucket in the path: `true`, `false`   | true with FS_S3_ENDPOINT     |
| FS_DAGSTER_URL      | a Dagster web server to talk to; the server tells it of groups  | the embedded one             |
| FS_SERVING_URL      | a server of online vectors to talk to                           | the embedded one             |
| FS_TOKEN            | the token that a client of that server sends: `fs_…`; its grants | none                        |
|                     | decide also what `FeatureStore` reads and trains on             |                              |
| FS_SERVING_HOST     | the address on which the server of vectors listens              | 127.0.0.1                    |
| FS_SERVING_PORT     | and its port                                                    | 14090; ./fs up chooses one   |
| FS_SERVING_TOKENS   | required: every request needs a token; none: only on loopback   | required, but on loopback    |
| FS_SERVING_DEADLINE | milliseconds that Redis has before entities are UNAVAILABLE     | 250                          |
| FS_SERVING_REQUEST_SECONDS | how long a request's head may take to arrive, and its body | 10                       |
| FS_SERVING_SILENCE  | seconds that one of several server processes may hang           | 10                           |
| FS_SERVING_ON_DEMAND_DEADLINE | milliseconds that the function of an on-demand feature | 50                 |
|                     | has before the feature fails                                    |                              |
| FS_SERVING_REPLICAS | whether replicas of a Redis Cluster answer: never, fallback     | never                        |
|                     | (where their primary does not) or prefer                        |                              |
| FS_SERVING_RATE     | requests per second that each token may make; 0: any number     | 0                            |
| FS_SERVING_TRAINING_JOBS | training datasets of a token that may be in the making     | 4                            |
| FS_SERVING_LABELS   | where labels of requests may be: folders, `iceberg:namespace`,  | `<FS_DATA_ROOT>/labels`,     |
|                     | `postgres:database.schema`, separated by commas                 | `iceberg:labels`             |
| FS_SERVING_CERT     | the server's certificate (PEM), with FS_SERVING_KEY             | no encryption                |
| FS_SERVING_CLIENT_CA | the authority of certificates that callers have to show        | they need none               |
| FS_SERVING_QUEUE    | commands that may wait for Redis before requests get a 503      | 4096                         |
| FS_SERVING_CACHE    | values of groups with `cache=` that a server remembers; 0: none | 10000                        |
| FS_SERVING_NATIVE   | off: the server answers without its native core                 | on, where it can be compiled |
| FS_ALERT_WEBHOOK    | where the sensor `alerts` posts what is wrong, as JSON          | none: it tells nobody        |
| FS_SPARK_JARS       | jars for Spark, separated by `:`; empty if the cluster has them | those of `jars.lock`         |
| FS_SPARK_MEMORY     | memory of the Spark driver                                      | `2g`                         |
| FS_SPARK_MASTER     | where Spark runs                                                | `local[*]`                   |
| FS_SPARK_CONF       | more for Spark: a file as `spark-defaults.conf`, or pairs       | nothing                      |
|                     | `spark.name=value`, separated by commas or newlines             |                              |
| FS_SPARK_PYTHON     | the Python of Spark's workers, where it lies there              | this one                     |
| FS_SPARK_PARTITIONS | partitions of a Spark shuffle                                   | 8                            |
| FS_MATERIALIZE_ROWS | rows that a materialization into Redis has in memory at once    | 1000000                      |
| FS_DATA_ROOT        | the folder that relative paths of sources start from            | `<FS_HOME>`                  |
| FS_JOIN_MEMORY      | memory of a training join, from `256m` on                       | `4g`                         |
| FS_DEFINITION_PACKAGES | the packages that definitions are loaded from, separated by  | `feature_defs`               |
|                     | `:`: on-demand functions are imported from no others            |                              |
| FS_PORT             | first of the ten ports of the embedded services                 | 14050, or free ones after    |
| FS_JARS_DIR         | where downloaded jars are kept                                  | `<FS_HOME>/jars`             |
| FS_JAR_MIRROR       | a repository in Maven layout to fetch jars from                 | the one that jgo knows       |
| FS_WORKSPACE        | the Dagster workspace file                                      | `workspace.yaml`             |
| FS_POOL_SLOTS       | steps of a Dagster pool (`spark`, `redis`, `training`) at once  | 1                            |

For its own processes the stack sets `DAGSTER_HOME`, `FS_DAGSTER_PG_URL` (named by `dagster.yaml`), `FS_SUPERVISED` (the
state folder: marks what belongs to a stack), `JAVA_HOME` and `PYSPARK_PYTHON`. The launcher `fs` reads `PYTHON` too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from feature_store import stack_file
from feature_store.dsl.packages import DEFINITION_PACKAGES
from feature_store.environment import (
    folder,
    memory_size,
    names,
    server_address,
    server_url,
    store_urls,
    whole_number,
)
from feature_store.errors import StackError
from feature_store.flink_clusters import flink_clusters
from feature_store.object_storage import AWS, ObjectStorage, check_warehouse, is_in_bucket
from feature_store.secret_files import secrets_folder

REPOSITORY = Path(__file__).resolve().parents[1]
DATABASES = ("registry", "iceberg", "dagster", "shop")
DEFAULT_SPARK_MEMORY = "2g"
DEFAULT_MATERIALIZE_ROWS = 1_000_000
MOST_ROWS = 10**12
LOCAL_FILES_CLASS = "featurestore.LocalFiles"
"""What `local_files_jar` has for Hadoop's `fs.file.impl`."""
JOIN_MEMORY = 4 << 30
"""How many bytes a training join has in memory, unless FS_JOIN_MEMORY says otherwise."""
LEAST_JOIN_MEMORY = 256 << 20
"""Decoding data files takes up to 150 MB, whatever else is in memory."""
LOADER_READY = "stream-loader.ready"
"""The file in the state folder that the stream loader makes when it has begun."""


@dataclass(frozen=True)
class Settings:
    """Where everything is that the feature store talks to. Immutable; `load()` makes it.

    Attributes:
        home: the state folder.
        pg_url: the PostgreSQL server, without database (`postgresql://user:password@host:port`).
        redis_url: the Redis server; the online store of groups that name none.
        online_stores: the URLs of the other ones, by name.
        warehouse: the URL under which Iceberg keeps its files.
        object_storage: how that is reached if it is in an S3 bucket.
        java_home: the Java that Spark runs on.
        spark_jars: the jars for Spark's class path; empty where the cluster has them.
        spark_memory: memory of the Spark driver, as Spark writes it ("2g").
        dagster_url: Dagster's web server; empty if it was not started.
        serving_url: the server of online vectors; likewise.
        spark_master: where Spark runs.
        spark_conf: what users add to its configuration (`offline.spark_conf`).
        spark_python: the Python of its workers; empty for this one.
        spark_partitions: partitions of a Spark shuffle.
        materialize_rows: how many rows a materialization into Redis reads, and of how many entities it keeps the newest
            row, at once; its peak is about four times as many rows, or those of one data file if that has more.
        data_root: the folder that relative paths of sources start from.
        kafka_servers: Kafka's address, for `KafkaAddress`; empty, as is what follows, where no streams are wanted.
        flink_url: the REST address of the Flink cluster; of application clusters, with `JOB_PLACE` for a job's name.
        flink_deploy: the command that starts and ends application clusters; empty for a session cluster.
        flink_kernel: where application clusters find the kernel's jar; empty for `kernel_jar`.
        flink_secrets: the folder in which Flink's processes find the password of Kafka.
        flink_python: the Python of Flink's environment, which submits jobs.
        flink_home: the folder with `conf` and `lib`, for the variables FLINK_HOME and FLINK_CONF_DIR of that Python.
        flink_state: the URL under which `checkpoints` and `savepoints` lie.
        kernel_jar: our functions for Flink.
        local_files_jar: what makes Spark on this machine quick with its files; `Path()` elsewhere.
        alert_webhook: where alerts are posted; empty: nowhere.
        join_memory: how many bytes a training join takes beside what its process has in memory without it, whatever the
            number of labels and the size of the tables. Labels that do not fit with their features go through scratch
            files. Texts count as 32 bytes, lists as 128.
        definition_packages: the packages that functions of recorded on-demand features may be imported from.
    """

    home: Path
    pg_url: str
    redis_url: str
    warehouse: str
    java_home: Path
    spark_jars: tuple[Path, ...]
    spark_memory: str = DEFAULT_SPARK_MEMORY
    dagster_url: str = ""
    serving_url: str = ""
    spark_master: str = "local[*]"
    spark_conf: str = ""
    spark_python: str = ""
    spark_partitions: str = "8"
    materialize_rows: int = DEFAULT_MATERIALIZE_ROWS
    data_root: Path = Path()
    kafka_servers: str = ""
    flink_url: str = ""
    flink_deploy: str = ""
    flink_kernel: str = ""
    flink_secrets: str = ""
    flink_python: Path = Path()
    flink_home: Path = Path()
    flink_state: str = ""
    kernel_jar: Path = Path()
    local_files_jar: Path = Path()
    alert_webhook: str = ""
    join_memory: int = JOIN_MEMORY
    definition_packages: tuple[str, ...] = DEFINITION_PACKAGES
    object_storage: ObjectStorage = AWS
    online_stores: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """The settings of this process: a variable of the environment wins over the running local stack.

        Raises:
            StackError: if a service is named by neither, or a variable makes no sense.
        """
        home = state_folder(environ)
        pg_url = server_url(environ, "FS_PG_URL")
        redis_url = environ.get("FS_REDIS_URL", "")
        stack = _running_stack(home)
        if stack is None and not (pg_url and redis_url):
            raise StackError(
                "no stack is running",
                where=str(home),
                remedy="run ./fs up, or set FS_PG_URL and FS_REDIS_URL",
                code="no-stack",
            )
        place = warehouse(environ)
        known_jars = (*stack.spark_jars, *(stack.s3_jars if is_in_bucket(place) else ())) if stack else ()
        jars = environ["FS_SPARK_JARS"].split(os.pathsep) if "FS_SPARK_JARS" in environ else known_jars
        return cls(
            home=home,
            pg_url=pg_url or (stack.pg_url if stack else ""),
            redis_url=redis_url or (stack.redis_url if stack else ""),
            warehouse=place,
            object_storage=ObjectStorage.load(environ),
            java_home=Path(environ.get("FS_JAVA_HOME") or (stack.java_home if stack else home / "java")),
            spark_jars=tuple(Path(jar) for jar in jars if jar),
            spark_memory=environ.get("FS_SPARK_MEMORY") or DEFAULT_SPARK_MEMORY,
            dagster_url=environ.get("FS_DAGSTER_URL") or (stack.dagster_url if stack else ""),
            serving_url=serving_url(environ),
            spark_master=environ.get("FS_SPARK_MASTER") or "local[*]",
            spark_conf=environ.get("FS_SPARK_CONF", ""),
            spark_python=environ.get("FS_SPARK_PYTHON", ""),
            spark_partitions=environ.get("FS_SPARK_PARTITIONS") or "8",
            materialize_rows=_rows(
                environ, "FS_MATERIALIZE_ROWS", DEFAULT_MATERIALIZE_ROWS, least=1, code="materialize-rows"
            ),
            data_root=folder(environ.get("FS_DATA_ROOT") or home),
            kafka_servers=environ.get("FS_KAFKA") or (stack.kafka_servers if stack else ""),
            **flink_clusters(environ, stack),
            flink_secrets=environ.get("FS_FLINK_SECRETS")
            or (stack.flink_secrets if stack else "")
            or str(secrets_folder(home)),
            flink_python=Path(environ.get("FS_FLINK_PYTHON") or (stack.flink_python if stack else "")),
            flink_home=Path(stack.flink_home if stack else ""),
            flink_state=stack.flink_state if stack and not environ.get("FS_FLINK_STATE") else flink_state(environ),
            kernel_jar=Path(stack.kernel_jar if stack else ""),
            local_files_jar=Path(stack.local_files_jar if stack else ""),
            alert_webhook=server_address(environ, "FS_ALERT_WEBHOOK"),
            join_memory=memory_size(
                environ, "FS_JOIN_MEMORY", JOIN_MEMORY, least=LEAST_JOIN_MEMORY, code="join-memory"
            ),
            definition_packages=names(environ, "FS_DEFINITION_PACKAGES") or DEFINITION_PACKAGES,
            online_stores=store_urls(environ, "FS_ONLINE_STORES") or (stack.online_stores if stack else {}),
        )

    def require_streams(self) -> None:
        """For those who need Kafka and Flink.

        Raises:
            StackError: if the stack runs without them.
        """
        if not (self.kafka_servers and self.flink_url and self.kernel_jar.is_file()):
            raise StackError(
                "the stack runs without Kafka and Flink",
                where=str(self.home),
                remedy="run ./fs up --streams",
                code="no-streams",
            )

    def online_store_url(self, name: str) -> str:
        """The URL of the online store of this name; of the default one if it is empty.

        Raises:
            StackError: if there is none.
        """
        if not name:
            return self.redis_url
        if name not in self.online_stores:
            raise StackError(
                f"no online store has the name {name!r}",
                where="FS_ONLINE_STORES",
                remedy=f"add {name}=redis://host:port to it",
                code="unknown-online-store",
            )
        return self.online_stores[name]

    def database_url(self, name: str, driver: str = "postgresql+psycopg2") -> str:
        """The SQLAlchemy URL of one database, with the driver spelled out: its default changes with SQLAlchemy."""
        return database_url(self.pg_url, name, driver)

    def jdbc_url(self, name: str) -> str:
        """The JDBC URL of one database, without credentials: those are `pg_user` and `pg_password`."""
        server = self._server
        address = server.netloc.rpartition("@")[2]
        return f"jdbc:{SplitResult('postgresql', address, '/' + quote(name, safe=''), server.query, '').geturl()}"

    @property
    def pg_user(self) -> str:
        return unquote(self._server.username or "")

    @property
    def pg_password(self) -> str:
        return unquote(self._server.password or "")

    @property
    def _server(self) -> SplitResult:
        return urlsplit(self.pg_url)


def database_url(server: str, name: str, driver: str = "postgresql+psycopg2") -> str:
    """The SQLAlchemy URL of one database on a server given without one."""
    return urlsplit(server)._replace(scheme=driver, path=f"/{name}").geturl()


def state_folder(environ: Mapping[str, str]) -> Path:
    """The folder of everything made at run time."""
    return folder(environ.get("FS_HOME") or REPOSITORY / ".fs")


def serving_url(environ: Mapping[str, str]) -> str:
    """The address of the server of online vectors, which may be that of the running stack; empty if there is none.

    Raises:
        StackError: if the variable names something else.
    """
    named = server_address(environ, "FS_SERVING_URL")
    stack = None if named else _running_stack(state_folder(environ))
    return stack.serving_url if stack else named


def warehouse(environ: Mapping[str, str]) -> str:
    """The URL under which Iceberg keeps its files.

    Raises:
        StackError: if it cannot be one.
    """
    named = check_warehouse(environ.get("FS_WAREHOUSE", "").strip().rstrip("/"))
    return named or f"file://{state_folder(environ)}/warehouse"


def flink_state(environ: Mapping[str, str]) -> str:
    """The URL under which Flink keeps its checkpoints and savepoints."""
    return environ.get("FS_FLINK_STATE", "").rstrip("/") or f"file://{state_folder(environ)}/flink"


def _rows(environ: Mapping[str, str], variable: str, default: int, *, least: int, code: str) -> int:
    return whole_number(environ, variable, default, least=least, most=MOST_ROWS, noun="number of rows", code=code)


def _running_stack(home: Path) -> stack_file.Connections | None:
    record = stack_file.read(home)
    return record.connections if record is not None and record.is_running() else None
