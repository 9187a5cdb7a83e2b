"""An S3 bucket as the place of Iceberg's files: what the engines have to be told of it.

Credentials are not part of it. Python, Spark's driver and Spark's executors each take them as AWS's libraries do, from
the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), a profile or the role of their machine: so they stand in no
argument, no table and no log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from feature_store.environment import server_address
from feature_store.errors import StackError

_SCHEMES = ("s3", "s3a", "s3n")
_FLAGS = {"": None, "true": True, "false": False}


@dataclass(frozen=True)
class ObjectStorage:
    """How a bucket is reached.

    Attributes:
        endpoint: the address of a server other than AWS's own; empty for AWS.
        region: empty: what AWS's libraries find.
        path_style: whether the bucket's name is in the path of requests, and not in the name of the host.
    """

    endpoint: str = ""
    region: str = ""
    path_style: bool = False

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> ObjectStorage:
        """What FS_S3_ENDPOINT, FS_S3_REGION and FS_S3_PATH_STYLE say.

        Raises:
            StackError: if one of them makes no sense.
        """
        endpoint = server_address(environ, "FS_S3_ENDPOINT")
        region = environ.get("FS_S3_REGION") or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""
        style = environ.get("FS_S3_PATH_STYLE", "").strip().lower()
        if style not in _FLAGS:
            raise StackError(
                f"{style!r} is neither true nor false",
                where="FS_S3_PATH_STYLE",
                remedy="write true or false, or leave it out: true with FS_S3_ENDPOINT, else false",
                code="warehouse",
            )
        flag = _FLAGS[style]
        return cls(
            endpoint=endpoint,
            region=region or ("us-east-1" if endpoint else ""),  # servers of one's own take any, but ask for one
            path_style=bool(endpoint) if flag is None else flag,
        )

    def for_java(self) -> dict[str, str]:
        """Properties of an Iceberg catalog in Spark or Flink."""
        properties = {
            "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
            "s3.path-style-access": str(self.path_style).lower(),
            "s3.endpoint": self.endpoint,
            "client.region": self.region,
        }
        return {name: value for name, value in properties.items() if value}

    def for_python(self) -> dict[str, str]:
        """Properties of a catalog of pyiceberg."""
        properties = {
            "s3.force-virtual-addressing": str(not self.path_style).lower(),
            "s3.endpoint": self.endpoint,
            "s3.region": self.region,
        }
        return {name: value for name, value in properties.items() if value}


AWS = ObjectStorage()
"""AWS's own, in the region that its libraries find."""


def is_in_bucket(url: str) -> bool:
    """Whether a URL names a place in an S3 bucket."""
    return urlsplit(url).scheme in _SCHEMES


def check_warehouse(url: str) -> str:
    """A URL of a warehouse, as it is.

    Raises:
        StackError: if it names S3, but no bucket.
    """
    parts = urlsplit(url)
    if is_in_bucket(url) and not parts.hostname:
        raise StackError(
            "names no bucket",
            where="FS_WAREHOUSE",
            remedy="write s3://bucket/prefix",
            code="warehouse",
        )
    return url
