"""A real S3 server with one bucket (S3Mock of Adobe's), whose objects are on disk and so survive that it is killed."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.integration.cluster.own_processes import OwnProcess
from tests.integration.own_valkey import free_port

BUCKET = "features"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "the-key-of-tests", "AWS_SECRET_ACCESS_KEY": "the-secret-of-tests"}
CLIENT = {"AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required", "AWS_EC2_METADATA_DISABLED": "true"}
"""S3Mock sends the checksum of a whole object with a part of it, which AWS's C++ library would compare."""

_NAME = re.compile(r'"key":"([^"]+)"')


@dataclass
class Bucket:
    """The server and the folder of its objects."""

    server: OwnProcess
    folder: Path

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a feature store with its warehouse in this bucket has in its environment."""
        place = {"FS_WAREHOUSE": f"s3://{BUCKET}/warehouse", "FS_S3_ENDPOINT": self.endpoint}
        return {**place, **CREDENTIALS, **CLIENT}

    def names(self) -> set[str]:
        """The names of all objects, also while some are written or removed."""
        found = set()
        for file in (self.folder / BUCKET).glob("*/objectMetadata.json"):
            with suppress(FileNotFoundError):
                found |= set(_NAME.findall(file.read_text()))
        return found

    def make_older(self, name: str, age: timedelta) -> None:
        """Lets an object be so old."""
        for file in (self.folder / BUCKET).glob("*/objectMetadata.json"):
            found = json.loads(file.read_text())
            if found["key"] == name:
                then = datetime.now(UTC) - age
                found["lastModified"] = int(then.timestamp() * 1000)
                found["modificationDate"] = then.isoformat(timespec="milliseconds").replace("+00:00", "Z")
                file.write_text(json.dumps(found, separators=(",", ":")))


def own_bucket(java_home: Path, jar: Path, folder: Path) -> Bucket:
    """A server that is not started yet."""
    objects, port = folder / "objects", free_port()
    objects.mkdir()
    store = "com.adobe.testing.s3mock.store"
    command = [str(java_home / "bin" / "java"), "-Xmx192m", "-XX:+UseSerialGC"]
    command += [f"-D{store}.root={objects}", f"-D{store}.retain-files-on-exit=true"]
    command += [f"-D{store}.initial-buckets={BUCKET}", "-jar", str(jar)]
    command += ["--server.address=127.0.0.1", "--server.port=0", f"--com.adobe.testing.s3mock.http-port={port}"]
    return Bucket(OwnProcess(command, folder / "bucket.log", dict(os.environ), port), objects)
