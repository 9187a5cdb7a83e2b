"""The Dagster runs of training jobs, by Dagster's GraphQL interface: launched, looked for, terminated."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from feature_store.errors import ConflictError, StackError

if TYPE_CHECKING:
    from feature_store.registry.records import Kind

JOB_TAG = "feature_store/training_job"
"""The tag of a run that says which job it works on; runs that Dagster starts again have it, too."""
GROUPS_KEY = ("training", "feature_groups")
"""The asset of datasets of groups by themselves."""
SECONDS = 30.0
"""How long Dagster may take for an answer; a busy one needs some time to launch a run."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a service beside this one: never by a proxy
_ENDED = ("SUCCESS", "FAILURE", "CANCELED")
_NODE = """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { __typename ... on AssetNode {
    repository { name location { name } } } ... on AssetNotFoundError { message } } }"""
_PARTITION = """mutation ($repository: RepositorySelector!, $name: String!, $key: String!) {
    addDynamicPartition(repositorySelector: $repository, partitionsDefName: $name, partitionKey: $key) { __typename
    ... on UnauthorizedError { message } ... on PythonError { message } } }"""
_LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } } ... on PipelineNotFoundError { message }
    ... on InvalidSubsetError { message } ... on UnauthorizedError { message } } }"""
_RUNS = """query ($filter: RunsFilter!) { runsOrError(filter: $filter, limit: 20) { __typename
    ... on Runs { results { runId status } } ... on PythonError { message } } }"""
_TERMINATE = """mutation ($id: String!) { terminateRun(runId: $id) { __typename
    ... on TerminateRunFailure { message } ... on PythonError { message } ... on UnauthorizedError { message } } }"""


@dataclass(frozen=True)
class JobRuns:
    """The runs that Dagster has of a job, the newest first: those that are not over, and how the others have ended."""

    alive: tuple[str, ...]
    ended: tuple[str, ...]


class TrainingRuns:
    """Dagster's web server.

    Args:
        url: its address; empty if there is none.
    """

    def __init__(self, url: str, seconds: float = SECONDS) -> None:
        self._url = url.rstrip("/")
        self._seconds = seconds

    @property
    def is_known(self) -> bool:
        """Whether it is known where Dagster is."""
        return bool(self._url)

    def url_of(self, run_id: str) -> str:
        """The page of a run."""
        return f"{self._url}/runs/{run_id}"

    def launch(self, kind: Kind, view: str, job_id: str) -> str:
        """Starts the run of a job, and gives its id; that of the run that it has, if it has one that is not over.

        A launch whose answer has not come in time may have gone well all the same.

        Args:
            view: the id of the view or group.

        Raises:
            ConflictError: if Dagster has no such asset, or refuses to start it.
            StackError: if it does not answer.
        """
        if alive := self.of_job(job_id).alive:
            return alive[0]
        key = asset_key(kind, view)
        node = self._ask(_NODE, key={"path": [*key]})["assetNodeOrError"]
        if "repository" not in node:
            raise self._refused(f"it has no asset {'/'.join(key)}: its code does not have {view}")
        repository = {
            "repositoryName": node["repository"]["name"],
            "repositoryLocationName": node["repository"]["location"]["name"],
        }
        added = self._ask(_PARTITION, repository=repository, name=partitions_name(kind, view), key=job_id)
        if "message" in added["addDynamicPartition"] and "Duplicate" not in added["addDynamicPartition"]["__typename"]:
            raise self._refused(added["addDynamicPartition"]["message"])
        selector = {**repository, "jobName": "__ASSET_JOB", "assetSelection": [{"path": [*key]}]}
        tags = {"dagster/partition": job_id, JOB_TAG: job_id, "dagster/max_retries": "0"}  # we start it again ourselves
        metadata = {"tags": [{"key": name, "value": value} for name, value in tags.items()]}
        params = {"selector": selector, "mode": "default", "executionMetadata": metadata}
        launched = self._ask(_LAUNCH, params=params)["launchRun"]
        if "run" not in launched:
            faults = [fault["message"] for fault in launched.get("errors", [])]
            raise self._refused(launched.get("message") or "; ".join(faults) or launched["__typename"])
        return str(launched["run"]["runId"])

    def of_job(self, job_id: str) -> JobRuns:
        """The runs of a job.

        Raises:
            StackError: if Dagster does not answer.
        """
        answer = self._ask(_RUNS, filter={"tags": [{"key": JOB_TAG, "value": job_id}]})["runsOrError"]
        if "results" not in answer:
            raise self._down(answer.get("message", answer["__typename"]))
        runs = [(run["runId"], run["status"]) for run in answer["results"]]
        return JobRuns(
            tuple(run for run, status in runs if status not in _ENDED),
            tuple(status for _, status in runs if status in _ENDED),
        )

    def terminate(self, job_id: str) -> None:
        """Ends the runs of a job that are not over.

        Raises:
            StackError: if Dagster does not answer.
        """
        for run_id in self.of_job(job_id).alive:
            self._ask(_TERMINATE, id=run_id)

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        try:
            request = urllib.request.Request(f"{self._url}/graphql", body, {"Content-Type": "application/json"})
            with _DIRECT.open(request, timeout=self._seconds) as response:
                answer = json.load(response)
        except (URLError, OSError, ValueError) as error:
            raise self._down(str(error)) from error
        if answer.get("errors"):
            raise self._refused(answer["errors"][0]["message"])
        data: dict[str, Any] = answer["data"]
        return data

    def _down(self, why: str) -> StackError:
        return StackError(
            f"Dagster does not answer: {why}",
            where=self._url,
            remedy="run ./fs status, or correct FS_DAGSTER_URL",
            code="dagster-down",
        )

    def _refused(self, why: str) -> ConflictError:
        return ConflictError(
            f"Dagster does not start the run: {why.strip().partition(chr(10))[0]}",
            where=self._url,
            remedy="load the code location anew in Dagster, and see whether it has the view",
            code="training-refused",
        )


def asset_key(kind: Kind, view: str) -> tuple[str, ...]:
    """The asset of datasets of a view, or of groups by themselves: ("training", "ranking_v1")."""
    return ("training", view.replace("@", "_v")) if kind == "view" else GROUPS_KEY


def partitions_name(kind: Kind, view: str) -> str:
    """The name of the partitions of that asset, one for each job: "training_ranking_v1"."""
    return "_".join(asset_key(kind, view))
