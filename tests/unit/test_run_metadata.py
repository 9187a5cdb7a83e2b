"""What Dagster's UI shows of a run: numbers that it plots over time, a picture, a few rows, the SQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg

from feature_assets.metadata import run_metadata
from feature_store.offline.history import Consistency
from feature_store.offline.materialize import Materialization
from feature_store.offline.profile import FeatureProfile, Profile
from feature_store.offline.sources import InputCounts

NUMBER = FeatureProfile("user_n_7d", 1, 0.25, 0.0, 10.0, 2.0, histogram=((0.0, 2.0), (10.0, 1.0)))
WORDS = FeatureProfile("user_words_7d", 3, 0.75)


def shown(
    *features: FeatureProfile, preview: list[dict[str, object]], personal: tuple[str, ...] = ()
) -> dict[str, dg.MetadataValue[object]]:
    profile = Profile(4, 2, 0, features)
    counts = InputCounts("orders", 9, 0, 0, 0, age=None)
    found = Consistency(4, 0, missing=4, extra=0, mismatched=0, by_feature={})
    done = Materialization("users@1", "features.users_v1", 17, profile, found, (counts,), "SELECT 1", 0.5)
    result = dg.AssetMaterialization("users", metadata=run_metadata(done, preview, personal))
    return dict(result.metadata)


def test_null_rates_are_numbers_by_themselves_and_in_the_table_of_features() -> None:
    found = shown(NUMBER, WORDS, preview=[])
    rates = {name: value for name, value in found.items() if name.startswith("null rate of ")}
    assert {name: value.value for name, value in rates.items()} == {
        "null rate of user_n_7d": 0.25,
        "null rate of user_words_7d": 0.75,
    }
    assert all(isinstance(value, dg.FloatMetadataValue) for value in rates.values())
    assert [record.data["null rate"] for record in found["features"].records] == [0.25, 0.75]


def test_overflow_rates_are_numbers_of_the_features_that_can_have_some() -> None:
    total = replace(NUMBER, overflows=1, overflow_rate=0.25)
    found = shown(total, WORDS, preview=[])
    rates = {name: value.value for name, value in found.items() if name.startswith("overflow rate of ")}
    assert rates == {"overflow rate of user_n_7d": 0.25}


def test_the_plot_and_the_sql_are_markdown() -> None:
    found = shown(NUMBER, preview=[])
    assert "data:image/svg+xml;base64," in found["distribution"].value
    assert found["sql"].value == "```sql\nSELECT 1\n```"


def test_the_preview_has_the_rows_as_they_are_and_only_what_a_table_can_hold() -> None:
    row = {"user_id": "u", "at": datetime(2026, 1, 1, tzinfo=UTC), "n": 3, "x": 0.5, "ok": True, "none": None}
    (record,) = shown(NUMBER, preview=[row | {"words": ["a", "b"]}])["preview"].records
    assert record.data == row | {"at": "2026-01-01 00:00:00+00:00", "none": "", "words": "['a', 'b']"}


def test_values_of_personal_data_are_not_shown() -> None:
    """Neither in rows, nor as bounds, means or pictures."""
    secret = replace(NUMBER, minimum=41.25, maximum=98.5, mean=77.125, histogram=((41.25, 1.0), (98.5, 2.0)))
    row = {"user_id": "u", "user_n_7d": 98.5, "user_words_7d": "w"}
    found = shown(secret, WORDS, preview=[row], personal=("user_n_7d",))
    (record,) = found["preview"].records
    assert record.data == {"user_id": "u", "user_n_7d": "masked", "user_words_7d": "w"}
    text = str(found)
    assert not any(value in text for value in ("41.25", "98.5", "77.125"))
    assert found["null rate of user_n_7d"].value == 0.25
    assert "98.5" in str(shown(secret, WORDS, preview=[row]))


def test_a_run_without_rows_says_so() -> None:
    assert shown(NUMBER, preview=[])["preview"].value == "no rows"
