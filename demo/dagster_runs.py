"""Launching runs in Dagster and watching them, through its GraphQL interface."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from feature_store.errors import StackError

_LOCATION = """{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } }
    ... on PythonError { message } } }"""
_LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } } ... on PipelineNotFoundError { message } } }"""
_STATE = """query ($id: ID!) { runOrError(runId: $id) { ... on Run { status
    stepStats { stepKey status } } ... on PythonError { message } ... on RunNotFoundError { message } } }"""
_FAILURES = """query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { __typename
    ... on ExecutionStepFailureEvent { stepKey error { message cause { message } } }
    ... on RunFailureEvent { message } } } } }"""
_PARTITIONS = """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
    assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startKey endKey } } } } } }"""
_LATEST = """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
    assetMaterializations(limit: 1) { metadataEntries { label ... on IntMetadataEntry { intValue }
        ... on FloatMetadataEntry { floatValue } } }
    assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status } } } } } } }"""
_ENDED = ("SUCCESS", "FAILURE", "CANCELED")
_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class RunState:
    """Where a run is: its status, the steps that ended and the steps at work."""

    status: str
    done: tuple[str, ...]
    working: tuple[str, ...]

    @property
    def ended(self) -> bool:
        return self.status in _ENDED


class Dagster:
    """One Dagster web server.

    Args:
        url: its address, such as the stack's `dagster_url`.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def run_url(self, run_id: str) -> str:
        """The page of a run."""
        return f"{self.url}/runs/{run_id}"

    def launch(self, job: str, first: str = "", last: str = "") -> str:
        """Starts a job, over all partitions from `first` to `last` in one run if they are given; returns the run's id.

        Raises:
            StackError: if Dagster refuses.
        """
        ends = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        tags = [{"key": key, "value": value} for key, value in ends.items() if value]
        repository = self._repository()
        selector = {
            "repositoryName": repository["name"],
            "repositoryLocationName": repository["location"]["name"],
            "jobName": job,
        }
        params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
        answer = self._ask(_LAUNCH, params=params)["launchRun"]
        if "run" not in answer:
            raise StackError(
                f"Dagster does not start {job}: {answer}",
                where=self.url,
                remedy="look at ./fs logs",
                code="dagster-refused",
            )
        return str(answer["run"]["runId"])

    def state(self, run_id: str) -> RunState:
        """Where a run is."""
        run = self._ask(_STATE, id=run_id)["runOrError"]
        steps = {step["stepKey"]: step["status"] for step in run.get("stepStats") or []}
        return RunState(
            status=run["status"],
            done=tuple(step for step, status in steps.items() if status in ("SUCCESS", "SKIPPED")),
            working=tuple(step for step, status in steps.items() if status == "IN_PROGRESS"),
        )

    def watch(self, run_id: str, tell: Callable[[RunState], None]) -> None:
        """Waits for the end of a run.

        Raises:
            StackError: if it fails, with the message of each step that failed.
        """
        while True:
            state = self.state(run_id)
            tell(state)
            if state.ended:
                break
            time.sleep(_POLL_SECONDS)
        if state.status != "SUCCESS":
            reasons = "; ".join(self._failures(run_id)) or state.status.lower()
            remedy = "open the run, correct the cause, run ./fs demo again"
            raise StackError(reasons, where=self.run_url(run_id), remedy=remedy, code="run-failed")

    def has_partitions(self, asset: Iterable[str], first: str, last: str) -> bool:
        """Whether an asset is materialized in all partitions of a range."""
        node = self._ask(_PARTITIONS, key={"path": list(asset)})["assetNodeOrError"]
        ranges = (node.get("assetPartitionStatuses") or {}).get("ranges") or []
        return any(r["status"] == "MATERIALIZED" and r["startKey"] <= first and last <= r["endKey"] for r in ranges)

    def latest(self, asset: Iterable[str]) -> tuple[dict[str, float], dict[str, str]]:
        """Of an asset's newest materialization the numbers, by their label, and of each of its checks the status."""
        node = self._ask(_LATEST, key={"path": list(asset)})["assetNodeOrError"]
        numbers: dict[str, float] = {}
        for materialization in node["assetMaterializations"]:
            for entry in materialization["metadataEntries"]:
                value = entry.get("intValue", entry.get("floatValue"))
                if value is not None:
                    numbers[entry["label"]] = value
        checks = node["assetChecksOrError"].get("checks") or []
        statuses = {c["name"]: (c["executionForLatestMaterialization"] or {}).get("status", "") for c in checks}
        return numbers, statuses

    def _failures(self, run_id: str) -> list[str]:
        events = self._ask(_FAILURES, id=run_id)["logsForRun"].get("events") or []
        found = []
        for event in events:
            if event["__typename"] == "ExecutionStepFailureEvent" and event.get("error"):
                error = event["error"]["cause"] or event["error"]
                found.append(f"{event['stepKey']}: {error['message'].strip()}")
        return found

    def _repository(self) -> dict[str, Any]:
        found = self._ask(_LOCATION)["repositoriesOrError"].get("nodes") or []
        if not found:
            remedy = "open its page: Deployment says why"
            raise StackError("Dagster has loaded no definitions", where=self.url, remedy=remedy, code="dagster-empty")
        repository: dict[str, Any] = found[0]
        return repository

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
        except (urllib.error.URLError, TimeoutError) as error:
            raise StackError(
                f"Dagster does not answer: {error}", where=self.url, remedy="run ./fs status", code="dagster-down"
            ) from error
        if answer.get("errors"):
            raise StackError(
                f"Dagster refuses: {answer['errors'][0]['message']}", where=self.url, code="dagster-refused"
            )
        data: dict[str, Any] = answer["data"]
        return data
