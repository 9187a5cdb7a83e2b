"""Which Flink runs the jobs: one session cluster for all, or an application cluster for each."""

from __future__ import annotations

from collections.abc import Mapping

from feature_store import stack_file
from feature_store.environment import server_address
from feature_store.errors import StackError

JOB_PLACE = "{job}"
"""In FS_FLINK_URL: the place of the name of a job's application cluster."""


def flink_clusters(environ: Mapping[str, str], stack: stack_file.Connections | None = None) -> dict[str, str]:
    """The settings of Flink's clusters; where the environment names none, those of a running stack.

    Raises:
        StackError: if only half of what application clusters need is there.
    """
    url, deploy = server_address(environ, "FS_FLINK_URL"), environ.get("FS_FLINK_DEPLOY", "").strip()
    if not url and not deploy and stack is not None:
        return {"flink_url": stack.flink_url, "flink_deploy": stack.flink_deploy, "flink_kernel": stack.flink_kernel}
    if bool(deploy) != (JOB_PLACE in url):
        raise StackError(
            "application clusters need both a command and an address for each job",
            where="FS_FLINK_DEPLOY, FS_FLINK_URL",
            remedy=f"set both, with {JOB_PLACE} in the address; or set an address without it for a session cluster",
            code="service-address",
        )
    return {"flink_url": url, "flink_deploy": deploy, "flink_kernel": environ.get("FS_FLINK_KERNEL", "")}
