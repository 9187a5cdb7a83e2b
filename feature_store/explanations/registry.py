"""Errors of the registry."""

from __future__ import annotations

from feature_store.explanations.explanation import Explanation

REGISTRY = (
    Explanation(
        "breaking-change",
        "A changed definition would alter what is recorded under its version",
        "Values or types that models rely on would become others, under the same name and version.",
        "Undo the change, or define it with a new version; the old one can live beside it.",
    ),
    Explanation(
        "deprecated",
        "New training is refused on what is deprecated",
        "A version that is to be removed must not get new models; those that use it go on.",
        "Train with the successor, or give model= the name of a model that is recorded as a user of the view.",
    ),
    Explanation(
        "retired",
        "A version is retired, and cannot be read any more",
        "Its removal date had passed and no model used it when it was retired; its rows stay where they are.",
        "Use its successor.",
    ),
    Explanation(
        "not-retired",
        "A version cannot be retired yet",
        "It is not deprecated, its date has not come, it is still defined, or a view or a model still reads it.",
        "Deprecate it first, and retire it when its date has passed and nothing reads it; ./fs retire --model ends a "
        "registered model.",
    ),
    Explanation(
        "model-registered",
        "Another model is registered under this name and version",
        "What reads a version of a model relies on its view and features; they never change.",
        "Register it with a new version, or give what is registered, as ./fs get shows it.",
    ),
    Explanation(
        "model-name",
        "A text cannot name a model",
        "The name is part of addresses and of ids such as ranker@3.",
        "Use up to 200 printable characters without / and @.",
    ),
    Explanation(
        "model-version",
        "A value is not a version of a model",
        "Versions are whole numbers from 1 on; the highest one that is not retired answers when none is named.",
        "Give a whole number, or leave the version out where the latest is meant.",
    ),
    Explanation(
        "model-features",
        "A model reads no feature, or one of them twice",
        "Its features are columns of what it takes, in its order.",
        "Name each feature once, or leave features= out: all of the view.",
    ),
    Explanation(
        "mlflow-input",
        "A run of MLflow does not say which training dataset its model was trained on",
        "A model that a run logs is registered with the view of the dataset that is the run's input.",
        "Call log_dataset(data) in the run, once; or store.register_model with the dataset.",
    ),
    Explanation(
        "mlflow-version",
        "A model that MLflow has logged has no version",
        "MLflow gives versions to models in its model registry only.",
        "Give version=, or registered_model_name= to log_model.",
    ),
    Explanation(
        "model-dataset",
        "A model is registered with the training dataset of another view",
        "It is served from the view that it was trained on.",
        "Give the dataset alone: its view is that of the model.",
    ),
    Explanation(
        "registry-moved",
        "The registry has changed since the plan was made",
        "Somebody else has applied in between; nothing was applied.",
        "Plan again, look at it, then apply.",
    ),
    Explanation(
        "defined-in-code",
        "A posted group is defined in code already, otherwise",
        "The code says what a group is; the next ./fs apply would undo what was posted.",
        "Change the definition in feature_defs/ and run ./fs apply; or post another version, or another name.",
    ),
    Explanation(
        "recorded-otherwise",
        "A posted group gives its entity otherwise than it is recorded",
        "An entity belongs to all its groups, and a posted group changes nothing but itself.",
        "Write the entity's name alone, or give it as GET /entities shows it.",
    ),
    Explanation(
        "posted-source",
        "A posted group reads what only a reviewed definition may read",
        "Nobody reviews it: databases of the feature store and files outside its data root are not for it.",
        "Read another place, or define the group in feature_defs/.",
    ),
    Explanation(
        "registry-busy",
        "Another process is changing the registry",
        "Changes are made one at a time.",
        "Try again when it is done.",
    ),
    Explanation(
        "registry-conflict",
        "The registry refuses a change",
        "Another process has written the same thing first.",
        "Plan again.",
    ),
    Explanation(
        "registry-newer",
        "The registry was made by a newer version of the feature store",
        "Its tables have a form that this version does not know.",
        "Update the feature store here.",
    ),
    Explanation(
        "registry-down",
        "The database of the registry does not answer",
        "It is not running, or cannot be reached from here.",
        "Run ./fs up; or correct FS_PG_URL.",
    ),
    Explanation(
        "registry-failed",
        "The database of the registry reports an error",
        "The message has its reason.",
        "Look at ./fs logs postgres.",
    ),
    Explanation(
        "no-registry",
        "The registry has no tables yet",
        "Nothing was applied.",
        "Run ./fs apply, which makes them.",
    ),
    Explanation(
        "not-recorded",
        "Nothing is recorded under this name",
        "The registry knows what was applied, which may be less than what is defined.",
        "Take one of those that the message lists, or run ./fs apply.",
    ),
    Explanation(
        "id",
        "A name does not say which version",
        "Groups and views are identified by name and version.",
        "Write name@version, such as user_orders@1.",
    ),
)
