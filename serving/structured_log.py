"""Log lines as JSON objects, one for each event."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec


def log_as_json(worker: int | None = None) -> None:
    """Logs of this process go to standard error.

    Args:
        worker: the number of the process, if the server has several.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(worker))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class JsonLines(logging.Formatter):
    """Time, level, place and message of an event, and the traceback of an error; which worker says so, of several."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._of = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._of,
        }
        if record.exc_info:
            event["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(event).decode()
