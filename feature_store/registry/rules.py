"""Which differences are safe: those that alter no value a reader gets under a recorded name and version."""

from __future__ import annotations

from dataclasses import dataclass

from feature_store.registry.facts import ALL, Fact


@dataclass(frozen=True)
class Rule:
    """A verdict on a kind of difference; with `unless_same_meaning`, breaking only if the fingerprint differs too."""

    breaking: bool
    reason: str
    unless_same_meaning: bool = False


_DOCS = Rule(False, "describes, does not compute")
_CHECK = Rule(False, "a check of later runs, not a value")
_ROWS = Rule(True, "other rows would count", unless_same_meaning=True)
_EXPRESSION = Rule(True, "values would be computed differently", unless_same_meaning=True)
_VALUES = Rule(True, "values would be computed differently")
_TIMES = Rule(True, "rows would be written at other times")
_KEY = Rule(True, "recorded groups are keyed by it")
_READ = Rule(True, "a model would read other features than it was trained on")
_WRITTEN = Rule(False, "how events are written, not what they say")
_WHEN = Rule(False, "when rows are written, not what they say")
_CALLERS = Rule(True, "callers give what was recorded")
_STATUS = Rule(False, "values stay; new views and new training use the successor")
_ACCESS = Rule(False, "who may read it, not what it says")
_UNKNOWN = Rule(True, "may alter values")

REORDERED = Rule(False, "features are read by name")
SAME_MEANING = "another spelling, the same values"

# (scope, field): the verdict when both have it, and they differ
CHANGED = {
    ("group", "owner"): _DOCS,
    ("group", "description"): _DOCS,
    ("group", "deprecated"): _STATUS,
    ("group", "access"): _ACCESS,
    ("group", "online_store"): Rule(True, "readers would look where no rows of this version are yet"),
    ("group", "freshness"): Rule(False, "a service level, not a value"),
    ("group", "cache"): Rule(False, "for how long readers remember values, not what they are"),
    ("group", "entity"): Rule(True, "values would describe another entity"),
    ("group", "query"): _EXPRESSION,
    ("group", "where"): _ROWS,
    ("group", "refresh"): Rule(True, "recorded partitions have one size"),
    ("group", "slide"): _TIMES,
    ("group", "emit"): _TIMES,
    ("group", "ttl"): Rule(True, "readers would find values older or younger than before"),
    ("group", "availability_delay"): Rule(True, "training would see other rows"),
    ("group", "buckets"): Rule(True, "the offline table of this version is laid out otherwise"),
    ("group", "commit_interval"): _WHEN,
    ("group", "parallelism"): Rule(False, "computes the same with other resources"),
    ("group", "expect_rows"): _CHECK,
    ("group", "expect_source"): _CHECK,
    ("group", "max_overflow"): _CHECK,
    ("entity", "description"): _DOCS,
    ("entity", "join_key"): _KEY,
    ("entity", "dtype"): _KEY,
    ("group", "key"): Rule(True, "values would be those of another entity"),
    ("view", "owner"): _DOCS,
    ("view", "description"): _DOCS,
    ("view", "access"): _ACCESS,
    ("view", "prejoin"): Rule(False, "how values are kept for readers, not what they say"),
    ("view", "deprecated"): Rule(False, "values stay; new training uses the successor"),
    ("request value", ""): _CALLERS,
    ("on-demand feature", "description"): _DOCS,
    ("on-demand feature", "expression"): _VALUES,
    ("on-demand feature", "function"): _VALUES,
    ("on-demand feature", "code"): Rule(True, "the function says something else"),
    ("on-demand feature", "dtype"): Rule(True, "readers would get another type"),
    ("on-demand feature", "default"): Rule(True, "readers would get another value for a missing one"),
    ("tag", ""): _DOCS,
    ("computed column", ""): _EXPRESSION,
    ("source", "description"): _DOCS,
    ("source", "name"): Rule(False, "the rows are the same"),
    ("source", "location"): Rule(True, "rows would come from another place"),
    ("source", "event_timestamp"): Rule(True, "events would happen at other times"),
    ("source", "look_back"): Rule(False, "the rows are the same; late ones are found in another way"),
    ("source", "event_id"): Rule(True, "other rows would count as duplicates"),
    ("source", "deduplicate_within"): Rule(True, "other rows would count as duplicates"),
    ("source", "changes_of"): Rule(True, "queries would see other rows"),
    ("source", "deleted"): Rule(True, "queries would see other rows", unless_same_meaning=True),
    ("source", "pii"): _ACCESS,
    ("source", "of_group"): Rule(True, "rows would come from another group"),
    ("source", "copies"): Rule(True, "queries would see other rows"),
    ("source", "event log"): Rule(True, "rows would come from another place"),
    ("source", "format"): _WRITTEN,
    ("source", "avro_schema"): _WRITTEN,
    ("source", "time_format"): _WRITTEN,
    ("source", "max_out_of_orderness"): _WHEN,
    ("source", "allowed_lateness"): Rule(False, "later events are counted by the reconcile"),
    ("source", "heartbeats"): _WHEN,
    ("source", "dead_letter_rate"): _CHECK,
    ("source column", ""): Rule(True, "values would have another type"),
    ("feature", "description"): _DOCS,
    ("feature", "expect"): _CHECK,
    ("feature", "rename_ok"): _DOCS,
    ("feature", "pii"): _ACCESS,
    ("feature", "where"): _ROWS,
    ("feature", "dtype"): Rule(True, "stored values have another type"),
    ("feature", "default"): Rule(True, "readers would get another value for a missing one"),
    ("feature", "window"): _VALUES,
    ("feature", "aggregation"): _VALUES,
    ("derived feature", "expression"): _EXPRESSION,
    ("derived feature", "dtype"): Rule(True, "stored values have another type"),
}

# scope: the verdict when a whole part is there for the first time
ADDED = {
    "group": _READ,
    "request value": _CALLERS,
    "on-demand feature": Rule(False, "computed when it is read: no row lacks it"),
    "tag": _DOCS,
    "computed column": Rule(False, "no recorded feature reads it"),
    "source": _EXPRESSION,
    "source column": Rule(False, "no recorded feature reads it"),
    "derived feature": Rule(True, "has no default: rows written before would lack it"),
}

# scope: the verdict when a whole part is gone
REMOVED = {
    "group": _READ,
    "request value": _CALLERS,
    "on-demand feature": Rule(True, "readers would miss it"),
    "tag": _DOCS,
    "computed column": _EXPRESSION,
    "source": _EXPRESSION,
    "source column": Rule(True, "features may read it", unless_same_meaning=True),
    "feature": Rule(True, "readers would miss it"),
    "derived feature": Rule(True, "readers would miss it"),
}


def changed_rule(fact: Fact, old: str, new: str) -> Rule:
    """The verdict on a field that differs."""
    if (fact.scope, fact.field) == ("group", "start"):
        if new < old:
            return Rule(False, "adds partitions before the first one")
        return Rule(True, "rows before it would not be computed again")
    if (fact.scope, fact.field) == ("group", "features"):
        return _chosen_rule(old, new)
    return CHANGED.get((fact.scope, fact.field), _UNKNOWN)


def _chosen_rule(old: str, new: str) -> Rule:
    """The verdict on which features of a group a view reads."""
    before, after = set(old.split(", ")), set(new.split(", "))
    if before == after:
        return REORDERED
    if new == ALL or before < after:
        return Rule(False, "the recorded ones are read as before")
    return Rule(True, "readers would miss features")


def added_rule(scope: str, default: str | None) -> Rule:
    """The verdict on a new part; `default` is that of a new feature."""
    if scope == "feature":
        if default is None:
            return Rule(True, "has no default: rows written before would lack it")
        return Rule(False, f"rows written before are read as {default}")
    return ADDED.get(scope, _UNKNOWN)


def removed_rule(scope: str) -> Rule:
    """The verdict on a part that is gone."""
    return REMOVED.get(scope, _UNKNOWN)
