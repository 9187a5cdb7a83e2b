"""Dagster's web server, as far as this server talks to it: it is asked to load the definitions anew."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from typing import Any, Literal
from urllib.error import URLError

import msgspec

SECONDS = 30.0
"""How long a reload may take: the definitions are imported by a new process, on a machine that may be busy."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a service beside this one: never by a proxy
_LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name } } ... on PythonError { message } } }"""
_RELOAD = """mutation ($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) {
    ... on WorkspaceLocationEntry { locationOrLoadError { ... on PythonError { message } } }
    ... on ReloadNotSupported { message } ... on RepositoryLocationNotFound { message }
    ... on UnauthorizedError { message } ... on PythonError { message } } }"""


class Reload(msgspec.Struct, frozen=True):
    """What became of asking Dagster to load the definitions anew.

    Attributes:
        status: "reloaded"; "failed", and `detail` says why; "unanswered" in the time that it has; "not configured" if
            it is not known where Dagster is.
    """

    status: Literal["reloaded", "failed", "unanswered", "not configured"]
    detail: str = ""


class DagsterServer:
    """Dagster's web server.

    Args:
        url: its address; empty if there is none.
        patience: how many seconds it may take for an answer.
    """

    def __init__(self, url: str, patience: float = SECONDS) -> None:
        self._url = url.rstrip("/")
        self._patience = patience
        self._turn = asyncio.Lock()
        self._latest: tuple[float, Reload] | None = None

    async def reload(self) -> Reload:
        """Has every code location load its definitions anew, and waits until they have; never raises.

        One reload at a time: whoever waits for it shares the next one.
        """
        if not self._url:
            return Reload("not configured", "set FS_DAGSTER_URL, or reload the code location in Dagster yourself")
        asked = time.monotonic()
        async with self._turn:
            if self._latest is None or self._latest[0] < asked:
                began = time.monotonic()
                self._latest = began, await asyncio.to_thread(self._reload_all)
            return self._latest[1]

    def _reload_all(self) -> Reload:
        try:
            workspace = self._ask(_LOCATIONS)["workspaceOrError"]
            if "message" in workspace:
                return Reload("failed", workspace["message"])
            troubles = [trouble for entry in workspace["locationEntries"] if (trouble := self._reload(entry["name"]))]
        except Exception as error:
            late = isinstance(error.reason if isinstance(error, URLError) else error, TimeoutError)
            if late:
                return Reload("unanswered", f"Dagster has not answered within {self._patience:.0f} s")
            return Reload("failed", f"Dagster does not answer as it should: {error or type(error).__name__}")
        return Reload("failed", "; ".join(troubles)) if troubles else Reload("reloaded")

    def _reload(self, location: str) -> str:
        """Why a location could not be loaded; empty if it was."""
        done = self._ask(_RELOAD, name=location)["reloadRepositoryLocation"]
        message = done.get("message") or (done.get("locationOrLoadError") or {}).get("message") or ""
        return str(message).strip()

    def _ask(self, query: str, **variables: str) -> dict[str, Any]:
        body = msgspec.json.encode({"query": query, "variables": variables})
        request = urllib.request.Request(f"{self._url}/graphql", body, {"Content-Type": "application/json"})
        with _DIRECT.open(request, timeout=self._patience) as response:
            answer = msgspec.json.decode(response.read())
        if answer.get("errors"):
            raise OSError(answer["errors"][0]["message"])
        data: dict[str, Any] = answer["data"]
        return data
