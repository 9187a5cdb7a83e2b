"""This package as an archive for the Python workers of a Spark cluster, whose machines do not have it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

from feature_store.settings import REPOSITORY
from feature_store.stack_file import replace_private_file

_TIME = (1980, 1, 1, 0, 0, 0)


def package_archive(folder: Path) -> Path:
    """The archive in a folder, made if it is not there: its name tells what is in it.

    Args:
        folder: made if it is missing; archives of older versions stay, since a session may still hand them out.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((REPOSITORY / "feature_store").rglob("*.py")):
            name = file.relative_to(REPOSITORY).as_posix()
            archive.writestr(zipfile.ZipInfo(name, _TIME), file.read_bytes(), zipfile.ZIP_DEFLATED)
    path = folder / f"feature_store-{hashlib.sha256(content.getvalue()).hexdigest()[:16]}.zip"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        replace_private_file(path, content.getvalue())
    return path
