"""Errors of feature views and on-demand features."""

from __future__ import annotations

from feature_store.explanations.explanation import Explanation

_GROUP = (
    'user_orders = FeatureGroup("user_orders", entity=user, source=orders,\n'
    '                           owner="team:shop", features=[order_count])\n'
)

VIEWS = (
    Explanation(
        "unknown-group",
        "A view reads a group that is not defined by itself",
        "Groups become tables and assets when they are module variables; one that is made inside of a view is not "
        "found.",
        "Assign the group to a variable of a module in feature_defs.",
        'churn = FeatureView("churn", owner="team:shop", groups=[  # <-\n'
        '    FeatureGroup("user_orders", entity=user, source=orders,\n'
        '                 owner="team:shop", features=[order_count])])',
    ),
    Explanation(
        "no-group",
        "A view has no groups",
        "There is nothing to read.",
        "Add at least one FeatureGroup.",
        'churn = FeatureView("churn", groups=[], owner="team:shop")  # <-',
    ),
    Explanation(
        "unknown-feature",
        "A view selects a feature that its group does not have",
        "The name is not one of the group's features and derived features; or it holds the key of another group and is "
        "not selected itself.",
        "Take the name from the group, without the prefix of a role.",
        f'{_GROUP}churn = FeatureView("churn", owner="team:shop",  # <-\n'
        '                    groups=[user_orders.select("user_orders_30d")])',
    ),
    Explanation(
        "key-count",
        "A role does not name a column for each part of a group's key",
        "A group of pairs is keyed by two columns, in a role as well.",
        "Name as many columns as the entity's join_key has, in its order.",
        f'{_GROUP}churn = FeatureView("churn", owner="team:shop",  # <-\n'
        '                    groups=[user_orders.keyed_by("user_id", "item_id")])',
    ),
    Explanation(
        "prejoin",
        "A view is to be pre-joined, and its groups cannot be kept together",
        "prejoin=True keeps the rows that an entity has in several groups under one key. Groups in a role (keyed_by) "
        "are read by themselves, and so are those in different online stores (online_store=).",
        "Leave prejoin=True out.",
        f'{_GROUP}churn = FeatureView("churn", owner="team:shop",  # <-\n'
        "                    groups=[user_orders], prejoin=True)",
    ),
    Explanation(
        "key-cycle",
        "Groups of a view are keyed by features of each other",
        "A key that is a feature is known when its group has been read, so one of them has to be read first.",
        "Key one of the groups by a column that readers give.",
        'friend = Feature("user_friend_all_time", agg.last("status"),\n'
        '                 window="all_time", dtype=STRING)\n'
        'user_friends = FeatureGroup("user_friends", entity=user, source=orders,\n'
        '                            owner="team:shop", features=[friend])\n'
        'churn = FeatureView("churn", owner="team:shop",  # <-\n'
        '                    groups=[user_friends.keyed_by("user_friend_all_time")])',
    ),
    Explanation(
        "successor",
        "A deprecated version names a successor that is not there to move to",
        "Whoever reads the deprecated version is sent to its successor, which must be defined and stay.",
        "Name a version that is defined and not deprecated itself, as name@version.",
        'left = Deprecated("user_orders@2", removal="2030-01-31")\n'
        'user_orders = FeatureGroup("user_orders", entity=user, source=orders,  # <-\n'
        '                           owner="team:shop", features=[order_count],\n'
        "                           deprecated=left)",
    ),
    Explanation(
        "unused-request",
        "A request value is read by no on-demand feature",
        "Every caller would have to give it for nothing.",
        "Remove it from request=.",
        f'{_GROUP}churn = FeatureView("churn", groups=[user_orders],  # <-\n'
        '                    owner="team:shop", request={"price": FLOAT})',
    ),
    Explanation(
        "function",
        "A function cannot be an on-demand feature",
        "It takes a mapping of columns and returns one Polars expression that looks at one row at a time; any process "
        "that reads the view imports it by its name.",
        'Write it at the top of a module, and return an expression such as columns["a"] * 2.',
        f"{_GROUP}\ndef twice(columns):\n"
        '    return columns["user_order_count_30d"].sum() * 2\n\n'
        'churn = FeatureView("churn", groups=[user_orders], owner="team:shop",\n'
        '                    on_demand=[OnDemand("user_twice",  # <-\n'
        "                                        function=twice, dtype=INT)])",
    ),
    Explanation(
        "function-package",
        "The function of an on-demand feature is not written in a package of definitions",
        "Every process that reads the view imports and calls it, so a definition may not name just any module.",
        "Write the function in a module of feature_defs, or of another package that definitions are loaded from; "
        "FS_DEFINITION_PACKAGES names those packages.",
        f'{_GROUP}churn = FeatureView("churn", groups=[user_orders], owner="team:shop",\n'
        '                    on_demand=[OnDemand("user_size", dtype=INT,  # <-\n'
        '                                        function="os:cpu_count")])',
    ),
    Explanation(
        "function-changed",
        "The function of an on-demand feature says something else than when it was declared",
        "The view was read back from the registry, and its values would be others now.",
        "Keep the function as it was, and write the change as another function in a new version of the view.",
        f"{_GROUP}\ndef twice(columns):\n"
        '    return columns["user_order_count_30d"] * 2\n\n'
        'churn = FeatureView("churn", groups=[user_orders], owner="team:shop",\n'
        '                    on_demand=[OnDemand("user_twice", dtype=INT,  # <-\n'
        '                                        function=twice, code="0af3")])',
    ),
)
