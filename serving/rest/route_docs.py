"""What is said of each route: parameters, an example that works against the demo, and what it answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from feature_store.explanations.explanation import Explanation
from feature_store.registry.lineage import Lineage
from feature_store.registry.skew_reports import KEEP
from feature_store.registry.tables import Status
from feature_store.registry.training_tables import JobState
from serving.rest.catalog import MOST_ITEMS, MOST_OFFSET
from serving.rest.documents import (
    EntityPage,
    FeaturePage,
    GroupDetail,
    GroupPage,
    Health,
    ModelDetail,
    ModelPage,
    ModelVersions,
    Readiness,
    RegistrationAnswer,
    SkewHistory,
    Usage,
    Versions,
    ViewDetail,
    ViewPage,
)
from serving.rest.requests import MOST_ROWS
from serving.rest.training_documents import TrainingJobDocument, TrainingJobPage

OPEN = (200, 500)
"""The statuses of a route that needs no token."""
_GUARDED = (200, 401, 429, 500)
_BODY = (408, 413, 415)
_VECTORS = (*_GUARDED, 400, 403, 404, 409, 410, 422, 503)


@dataclass(frozen=True)
class Parameter:
    """A parameter of a query.

    Attributes:
        schema: JSON schema of the value.
        named: whether it is one parameter; otherwise any number, each with a name that the schema does not know.
    """

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    named: bool = True


@dataclass(frozen=True)
class RouteDoc:
    """What is said of a route.

    Attributes:
        example: path and query of a request.
        answer: the type that it answers with; None: vectors, in any shape, or nothing yet.
        statuses: that it may have.
        body: of the example; None if it has none.
        form: the schema of a body.
    """

    method: str
    path: str
    summary: str
    example: str
    answer: type | None
    parameters: tuple[Parameter, ...] = ()
    statuses: tuple[int, ...] = _GUARDED
    body: Mapping[str, Any] | None = None
    form: str = "OnlineBody"

    @property
    def is_of_vectors(self) -> bool:
        """Whether it answers with vectors."""
        return self.answer is None and 200 in self.statuses

    @property
    def takes_packed(self) -> bool:
        """Whether its body may be MessagePack."""
        return self.is_of_vectors or self.form == "TrainingBody"

    @property
    def located(self) -> tuple[int, ...]:
        """The statuses of answers that say in Location where something is."""
        return (200, 202) if 202 in self.statuses else (201,)


_RETURNS = {
    "name": "user_returns",
    "entity": "user",
    "source": "order_events",
    "owner": "team:returns",
    "where": "status = 'returned'",
    "features": [
        {"name": "user_return_count_30d", "agg": {"function": "count"}, "window": "30d", "dtype": "INT", "default": 0}
    ],
}
_RANKING = {"rows": [{"user_id": "00042", "product_id": "p0007"}, {"user_id": "00042", "product_id": "p0008"}]}
_SHAPES = ["columns", "records", "msgpack", "arrow"]
_SHAPE = Parameter(
    "shape",
    "columns, records (for people), msgpack or arrow; Accept says it, too",
    {"type": "string", "enum": _SHAPES, "default": "columns"},
)
_FEATURES = Parameter("features", "names of the features that are wanted, separated by commas; all unless given")
_VERSION = Parameter(
    "version", "of the model; the latest unless given, here or in the name: ranker@3", {"type": "integer", "minimum": 1}
)
_COLUMNS = Parameter(
    "columns",
    "a parameter for each key column and request value, by its name; values of several rows are separated by commas",
    {"type": "object", "additionalProperties": {"type": "string"}},
    named=False,
)
_CUT = (
    Parameter("limit", "items of one answer", {"type": "integer", "minimum": 0, "maximum": MOST_ITEMS}),
    Parameter("offset", "the first of them", {"type": "integer", "minimum": 0, "maximum": MOST_OFFSET}),
)
_REPORTS = Parameter("count", "how many of the newest reports", {"type": "integer", "minimum": 0, "maximum": KEEP})
_TEXT = Parameter("q", "a text in any field")
_OWNER = Parameter("owner", "of this owner, such as team:recommendations")
_STATUS = Parameter(
    "status",
    f"{', '.join(list(Status)[:-1])} or {list(Status)[-1]}",
    {"type": "string", "enum": [status.value for status in Status]},
)

_LABELS = {
    "name": "churn",
    "labels": [{"user_id": "00042", "label_timestamp": "2026-01-31T12:00:00Z", "bought_again": True}],
}
_ASKED = (*_VECTORS, *_BODY, 202)
TRAINING_ROUTES = (
    *(
        RouteDoc(
            "post", f"/{kind}/{{id}}/training-dataset",
            "Asks for a training dataset: labels with the features known at each. The same again is the same job",
            f"/{kind}/{name}/training-dataset", TrainingJobDocument, (), _ASKED, _LABELS, "TrainingBody",
        )
        for kind, name in (("feature-groups", "user_orders"), ("feature-views", "repurchase"))
    ),
    RouteDoc(
        "get", "/training-datasets", "Training jobs, the latest first", "/training-datasets?state=SUCCEEDED&limit=10",
        TrainingJobPage,
        (
            Parameter("state", f"of this state: {', '.join(JobState)}",
                      {"type": "string", "enum": [state.value for state in JobState]}),
            Parameter("view", "of this view or group, such as ranking@1"),
            _CUT[0],
        ),
        (*_GUARDED, 400, 422, 503),
    ),
    RouteDoc(
        "get", "/training-datasets/{job}", "One training job: state, progress, rows, error, result",
        "/training-datasets/20260131T120000Z-00c0ffee", TrainingJobDocument, statuses=(*_GUARDED, 403, 404, 503),
    ),
    RouteDoc(
        "delete", "/training-datasets/{job}", "Cancels a training job that is not over, and its Dagster run",
        "/training-datasets/20260131T120000Z-00c0ffee", TrainingJobDocument, statuses=(*_GUARDED, 403, 404, 409, 503),
    ),
)  # fmt: skip

ROUTES = (
    RouteDoc(
        "get", "/feature-groups/{id}/online", f"The newest row of each entity, of {MOST_ROWS} at most",
        "/feature-groups/user_orders/online?entity_ids=00042,00043", None,
        (Parameter("entity_ids", "ids, separated by commas; the parts of a composite key by |"),
         Parameter("entity_id", "one id as it is, with commas if it has some; may be given several times"),
         _FEATURES, _SHAPE),
        _VECTORS,
    ),
    RouteDoc(
        "post", "/feature-groups/{id}/online", "The same, with rows of key columns in the body",
        "/feature-groups/user_orders@1/online", None, (_SHAPE,), (*_VECTORS, *_BODY),
        {"rows": [{"user_id": "00042"}]},
    ),
    RouteDoc(
        "get", "/feature-views/{id}/online", "Vectors of a view; a parameter for each key column and request value",
        "/feature-views/ranking/online?user_id=00042&product_id=p0007,p0008", None, (_COLUMNS, _FEATURES, _SHAPE),
        _VECTORS,
    ),
    RouteDoc(
        "post", "/feature-views/{id}/online", "Vectors of a view: rows of key columns, and request values for all rows",
        "/feature-views/ranking@1/online", None, (_SHAPE,), (*_VECTORS, *_BODY), {**_RANKING, "request": {}},
    ),
    RouteDoc(
        "get", "/models/{name}/online",
        "Vectors of a registered model: its features in its order; of another one, the view that it is recorded with",
        "/models/repurchase/online?user_id=00042", None, (_VERSION, _COLUMNS, _FEATURES, _SHAPE), _VECTORS,
    ),
    RouteDoc(
        "post", "/models/{name}/online", "The same, with rows in the body", "/models/repurchase/online", None,
        (_VERSION, _SHAPE), (*_VECTORS, *_BODY), {"rows": [{"user_id": "00042"}]},
    ),
    RouteDoc(
        "get", "/models", "Registered models, each version", "/models?view=repurchase@1", ModelPage,
        (_TEXT, Parameter("view", "that read this view, such as ranking@1"), _OWNER, *_CUT), (*_GUARDED, 400),
    ),
    RouteDoc(
        "get", "/models/{name}", "One version of a model, the latest unless it is named: ranker@3",
        "/models/repurchase", ModelDetail, statuses=(*_GUARDED, 404, 410),
    ),
    RouteDoc(
        "get", "/models/{name}/versions", "All versions of a model", "/models/repurchase/versions", ModelVersions,
        statuses=(*_GUARDED, 404),
    ),
    RouteDoc(
        "get", "/feature-groups", "Recorded groups", "/feature-groups?q=order", GroupPage,
        (_TEXT, _OWNER, Parameter("entity", "of this entity"), _STATUS, *_CUT), (*_GUARDED, 400),
    ),
    RouteDoc(
        "post", "/feature-groups", "Records a group given as JSON, if it is right and breaks nothing",
        "/feature-groups?plan=true", RegistrationAnswer,
        (Parameter("plan", "true: say what would change, and change nothing", {"type": "boolean"}),),
        (*_VECTORS, *_BODY, 201), _RETURNS, form="PostedGroup",
    ),
    RouteDoc(
        "get", "/feature-groups/{id}", "One group: definition, features, readers", "/feature-groups/user_orders",
        GroupDetail, statuses=(*_GUARDED, 404),
    ),
    RouteDoc(
        "get", "/feature-groups/{id}/versions", "All versions of a group", "/feature-groups/user_orders/versions",
        Versions, statuses=(*_GUARDED, 404),
    ),
    RouteDoc(
        "get", "/feature-groups/{id}/usage", "The models that read it", "/feature-groups/user_orders/usage",
        Usage, statuses=(*_GUARDED, 404, 503),
    ),
    RouteDoc(
        "get", "/feature-views", "Recorded views", "/feature-views?owner=team:recommendations", ViewPage,
        (_TEXT, _OWNER, _STATUS, *_CUT), (*_GUARDED, 400),
    ),
    RouteDoc(
        "get", "/feature-views/{id}", "One view", "/feature-views/ranking", ViewDetail, statuses=(*_GUARDED, 404),
    ),
    RouteDoc(
        "get", "/feature-views/{id}/versions", "All versions of a view", "/feature-views/ranking/versions",
        Versions, statuses=(*_GUARDED, 404),
    ),
    RouteDoc(
        "get", "/feature-views/{id}/usage", "The models that read it", "/feature-views/ranking/usage",
        Usage, statuses=(*_GUARDED, 404, 503),
    ),
    RouteDoc(
        "get", "/features", "Recorded features", "/features?q=review", FeaturePage,
        (_TEXT, Parameter("group", "of this group, such as user_orders@1"), Parameter("dtype", "of this type"),
         _OWNER, _STATUS, *_CUT),
        (*_GUARDED, 400),
    ),
    RouteDoc("get", "/entities", "Recorded entities", "/entities", EntityPage, _CUT, (*_GUARDED, 400)),
    RouteDoc(
        "get", "/lineage/{subject}", "What a feature, group, view, source or column comes from, and what from it",
        "/lineage/user_orders@1/user_order_count_all_time", Lineage, statuses=(*_GUARDED, 404, 503),
    ),
    RouteDoc(
        "get", "/errors/{code}", "What a problem's code means", "/errors/too-many-rows", Explanation,
        statuses=(*OPEN, 404),
    ),
    RouteDoc("get", "/health", "What works and what does not; 200 while it can answer", "/health", Health,
             statuses=OPEN),
    RouteDoc("get", "/ready", "200 if requests should be sent here, else 503", "/ready", Readiness,
             statuses=(*OPEN, 503)),
    *(
        RouteDoc("get", f"/{kind}/{{id}}/skew-report", "How what was served differs from training, as last reported",
                 f"/{kind}/{name}/skew-report?count=2", SkewHistory, (_REPORTS,),
                 (*_GUARDED, 400, 403, 404, 409, 410, 503))
        for kind, name in (("feature-groups", "user_orders"), ("feature-views", "ranking"))
    ),
    *TRAINING_ROUTES,
    RouteDoc("get", "/metrics", "Counts and latencies for Prometheus", "/metrics", str),
)  # fmt: skip
