"""A warehouse in a bucket: what the variables say, and what each engine is told."""

from __future__ import annotations

import pytest

from feature_store.errors import StackError
from feature_store.object_storage import AWS, ObjectStorage, check_warehouse, is_in_bucket


def test_aws_needs_nothing() -> None:
    assert ObjectStorage.load({}) == AWS
    assert AWS.for_java() == {"io-impl": "org.apache.iceberg.aws.s3.S3FileIO", "s3.path-style-access": "false"}
    assert AWS.for_python() == {"s3.force-virtual-addressing": "true"}


def test_the_region_is_ours_or_that_of_aws() -> None:
    assert ObjectStorage.load({"AWS_DEFAULT_REGION": "eu-west-1"}).region == "eu-west-1"
    assert ObjectStorage.load({"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-west-2"}).region == "eu-west-2"
    assert ObjectStorage.load({"AWS_REGION": "eu-west-2", "FS_S3_REGION": "eu-west-3"}).region == "eu-west-3"


def test_a_server_of_ones_own() -> None:
    storage = ObjectStorage.load({"FS_S3_ENDPOINT": "http://s3.example:9000/"})
    assert storage == ObjectStorage("http://s3.example:9000", "us-east-1", path_style=True)
    assert storage.for_java()["s3.endpoint"] == storage.for_python()["s3.endpoint"] == "http://s3.example:9000"
    by_host = ObjectStorage.load({"FS_S3_ENDPOINT": "https://s3.example", "FS_S3_PATH_STYLE": "False"})
    assert not by_host.path_style
    assert by_host.for_python()["s3.force-virtual-addressing"] == "true"


@pytest.mark.parametrize("wrong", [{"FS_S3_PATH_STYLE": "yes"}, {"FS_S3_ENDPOINT": "s3.example:9000"}])
def test_what_makes_no_sense_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(StackError, match=next(iter(wrong))):
        ObjectStorage.load(wrong)


def test_a_warehouse_in_a_bucket_names_one() -> None:
    for url in ("s3://bucket/prefix", "s3a://bucket", "file:///warehouse", "hdfs://name/warehouse", ""):
        assert check_warehouse(url) == url
    assert [is_in_bucket(url) for url in ("s3://b/p", "s3a://b", "file:///s3", "/s3://b")] == [True, True, False, False]
    for url in ("s3://", "s3:/bucket/prefix", "s3a:///prefix"):
        with pytest.raises(StackError, match="names no bucket"):
            check_warehouse(url)
