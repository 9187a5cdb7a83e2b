"""Errors of feature groups: names, windows, types, sources."""

from __future__ import annotations

from feature_store.explanations.explanation import Explanation

GROUPS = (
    Explanation(
        "wrong-argument",
        "A definition was called with an argument that it does not take",
        "An argument is missing, unknown, or not of the form it must have. The rest of the module was not read.",
        "Correct the argument that the message names; help(FeatureGroup) lists what there is.",
        'Feature("user_order_count_30d", agg.count(),  # <-\n        window="30 days", dtype=INT)',
    ),
    Explanation(
        "import",
        "A module of definitions cannot be imported",
        "Python raised an error while it read the module. Modules that only import it are not reported again, and all "
        "others are checked.",
        "Correct the line that is named.",
        "import no_such_module  # <-",
    ),
    Explanation(
        "name",
        "A name is not snake_case",
        "Names become names of tables, Redis keys and Dagster assets.",
        "Use lower case letters, digits and _, beginning with a letter.",
        'FeatureGroup("UserOrders", entity=user, source=orders,  # <-\n'
        '             owner="team:shop", features=[order_count])',
    ),
    Explanation(
        "owner",
        "An owner is neither a team nor an e-mail address",
        "Alerts and the registry say who answers for a group or a view, in one of the forms that Dagster takes.",
        "Write 'team:name' or an e-mail address.",
        'FeatureGroup("user_orders", entity=user, source=orders,  # <-\n'
        '             owner="bob", features=[order_count])',
    ),
    Explanation(
        "version",
        "A version is not a number from 1 to 9999",
        "A group is identified by its name and version, which is part of the table's name.",
        "Count versions from 1.",
        'FeatureGroup("user_orders", version=0, entity=user, source=orders,  # <-\n'
        '             owner="team:shop", features=[order_count])',
    ),
    Explanation(
        "online-store-name",
        "The name of an online store is not snake_case",
        "A group names the Redis that has its rows as FS_ONLINE_STORES does.",
        "Use lower case letters, digits and _, beginning with a letter; leave it out for the Redis of FS_REDIS_URL.",
        'FeatureGroup("user_orders", entity=user, source=orders,  # <-\n'
        '             owner="team:shop", features=[order_count], online_store="Hot!")',
    ),
    Explanation(
        "duplicate-name",
        "One name stands for two different things",
        "Two definitions have one identity, two features or columns of a group have one name, two entities or streams "
        "of one name differ, or two groups of a view have a feature of one name: readers could not tell them apart.",
        "Rename one. Entities and sources are declared once and imported where they are needed.",
        'FeatureGroup("user_orders", entity=user, source=orders, owner="team:shop",\n'
        "             features=[order_count,\n"
        '                       Feature("user_order_count_30d", agg.count(),  # <-\n'
        '                               window="30d", dtype=INT)])',
    ),
    Explanation(
        "feature-name",
        "A feature's name breaks the naming convention",
        "A name tells what the value is: {entity}_{what}_{aggregation}_{window}. A derived feature begins with the "
        "entity. The message suggests a name.",
        "Take the suggested name, or say rename_ok='why' for a name that others depend on already.",
        'FeatureGroup("user_orders", entity=user, source=orders, owner="team:shop",\n'
        '             features=[Feature("orders_7d", agg.count(),  # <-\n'
        '                               window="30d", dtype=INT)])',
    ),
    Explanation(
        "reserved-name",
        "A name is taken by the feature store itself",
        "Feature rows, labels and the compiled SQL have columns of their own, such as feature_timestamp. Words of SQL "
        "are not reserved: compiled SQL quotes every name, and expressions take them in double quotes.",
        "Choose another name; a column of a source can be renamed in the source or left out of the schema.",
        'FeatureGroup("user_orders", entity=user, source=orders, owner="team:shop",\n'
        '             features=[Feature("label_timestamp", agg.count(),  # <-\n'
        '                               window="30d", dtype=INT, rename_ok="old")])',
    ),
    Explanation(
        "no-feature",
        "A group has no features",
        "There is nothing to compute.",
        "Add at least one Feature.",
        'FeatureGroup("user_orders", entity=user, source=orders,  # <-\n             owner="team:shop", features=[])',
    ),
    Explanation(
        "no-aggregation",
        "A feature of a source has no aggregation or no window",
        "The rows of a source are events; a feature says how those of a window become one value.",
        "Give both: Feature(name, agg.count(), window='30d', dtype=INT). In a query group the query computes the "
        "value, and a feature has neither.",
        'FeatureGroup("user_orders", entity=user, source=orders, owner="team:shop",\n'
        '             features=[Feature("user_amount", dtype=FLOAT)])  # <-',
    ),
    Explanation(
        "unknown-column",
        "A column is read that is not there",
        "An aggregation, an expression, a query or an on-demand feature names a column that the source, the group or "
        "the view does not have, or one that is only computed after it. The message suggests the nearest name.",
        "Correct the name, or add the column to the schema of the source.",
        'FeatureGroup("user_orders", entity=user, source=orders, owner="team:shop",\n'
        '             features=[Feature("user_sum_30d", agg.sum("amuont"),  # <-\n'
        '                               window="30d", dtype=FLOAT)])',
    ),
    Explanation(
        "type",
        "A type is not the one that is computed, or cannot be computed with",
        "The aggregation or expression gives another type than dtype says, or does not take its column's type.",
        "Declare the type that the message names, or aggregate another column.",
        'FeatureGroup("user_orders", entity=user, source=orders, owner="team:shop",\n'
        '             features=[Feature("user_mean_30d", agg.mean("amount"),  # <-\n'
        '                               window="30d", dtype=INT)])',
    ),
    Explanation(
        "default",
        "A default is not a value of its feature's type",
        "Readers get the default where a value is missing, so it must be such a value.",
        "Give a default of the feature's type, or none.",
        'FeatureGroup("user_orders", entity=user, source=orders, owner="team:shop",\n'
        '             features=[Feature("user_order_count_30d", agg.count(),  # <-\n'
        '                               window="30d", dtype=INT, default="0")])',
    ),
    Explanation(
        "expect",
        "An expectation does not fit its feature",
        "Bounds need a number, and a null_rate is a share between 0 and 1.",
        "Correct it, or expect a null_rate only.",
        'FeatureGroup("user_orders", entity=user, source=orders, owner="team:shop",\n'
        '             features=[Feature("user_order_count_30d", agg.count(),  # <-\n'
        '                               window="30d", dtype=INT,\n'
        '                               expect={"null_rate": 5})])',
    ),
    Explanation(
        "slide",
        "A slide does not divide a window or a partition",
        "Rows stand on a grid of whole slides. A window or a partition that ends between two points of the grid could "
        "not be computed exactly. A stream's slide is a second or more.",
        "Use a slide that fits a whole number of times into each of them.",
        'FeatureGroup("user_orders", entity=user, source=orders, owner="team:shop",\n'
        '             slide="1d",\n'
        '             features=[Feature("user_order_count_36h", agg.count(),  # <-\n'
        '                               window="36h", dtype=INT)])',
    ),
    Explanation(
        "ttl",
        "A ttl is shorter than a window of a group that writes rows on change",
        "Rows are written only when a value changes, so a row holds until the next one. A ttl within the window would "
        "let values expire that still hold.",
        "Leave the ttl out, or say emit='snapshot': then every entity gets a row at every slide.",
        'FeatureGroup("user_orders", entity=user, source=orders,  # <-\n'
        '             owner="team:shop", ttl="7d", features=[order_count])',
    ),
    Explanation(
        "buckets",
        "A number of buckets is not between 1 and 4096",
        "The offline table is divided into this many parts by entity; each is a file or more per day.",
        "Use a few for small groups, and about one per million entities for large ones.",
        'FeatureGroup("user_orders", entity=user, source=orders,  # <-\n'
        '             owner="team:shop", buckets=0, features=[order_count])',
    ),
    Explanation(
        "cache",
        "A cache is not between 1 ms and 1 minute",
        "Servers and clients may answer with values of the group that they have read up to so long ago.",
        "Use a few seconds, or leave it out: then the online store is asked each time.",
        'FeatureGroup("user_orders", entity=user, source=orders,  # <-\n'
        '             owner="team:shop", cache="5m", features=[order_count])',
    ),
    Explanation(
        "start",
        "A start is not a date",
        "It is the first partition of the group.",
        "Write it as 2026-01-31.",
        'FeatureGroup("user_orders", entity=user, source=orders,  # <-\n'
        '             owner="team:shop", start="yesterday", features=[order_count])',
    ),
    Explanation(
        "key-type",
        "A join key has a type that cannot be a key",
        "Keys are compared exactly and put into buckets, which is not possible with FLOAT or lists. Entities of one "
        "view that share a key have it in one type.",
        "Use STRING, INT or TIMESTAMP, and the same for all entities of the key.",
        'user_by_score = Entity("user", join_key="amount", dtype=FLOAT)\n'
        'FeatureGroup("user_orders", entity=user_by_score, source=orders,  # <-\n'
        '             owner="team:shop", features=[order_count])',
    ),
    Explanation(
        "join-key",
        "A source lacks the join key of the group's entity, or has it in another type",
        "Every row of a source belongs to the entity that its key names.",
        "Add the key to the schema, with the type that the entity says.",
        'customer = Entity("user", join_key="customer_id")\n'
        'FeatureGroup("user_orders", entity=customer, source=orders,  # <-\n'
        '             owner="team:shop", features=[order_count])',
    ),
    Explanation(
        "source-name",
        "A source cannot have its name",
        "Queries refer to sources by name, and a few names are those of steps in the compiled SQL.",
        "Use another snake_case name.",
        'events = BatchSource("cleaned", table="raw.events", event_timestamp="ts",\n'
        '                     schema={"user_id": STRING, "ts": TIMESTAMP})\n'
        'FeatureGroup("user_orders", entity=user, source=events,  # <-\n'
        '             owner="team:shop", features=[order_count])',
    ),
    Explanation(
        "table-name",
        "The table of a source, or what holds it, has a name that cannot be",
        "Names go into the SQL of Spark and Postgres, where quotes and other signs would mean something.",
        "Use letters, digits, _, -, $ and single spaces; the parts of a name are separated by dots.",
        'events = BatchSource("events", jdbc="shop.public.\'events",\n'
        '                     event_timestamp="ts",\n'
        '                     schema={"user_id": STRING, "ts": TIMESTAMP})\n'
        'FeatureGroup("user_orders", entity=user, source=events,  # <-\n'
        '             owner="team:shop", features=[order_count])',
    ),
    Explanation(
        "event-timestamp",
        "A source has no event time, or it is not a TIMESTAMP",
        "The event time decides in which windows a row counts.",
        "Add the column to the schema, as TIMESTAMP.",
        'events = BatchSource("events", table="raw.events", event_timestamp="ts",\n'
        '                     schema={"user_id": STRING})\n'
        'FeatureGroup("user_orders", entity=user, source=events,  # <-\n'
        '             owner="team:shop", features=[order_count])',
    ),
    Explanation(
        "event-id",
        "The column of a source's event id is not in its schema",
        "Of the rows with one event id, one counts, so the column is read.",
        "Add it to the schema, or leave event_id out.",
        'events = BatchSource("events", table="raw.events", event_timestamp="ts",\n'
        '                     schema={"user_id": STRING, "ts": TIMESTAMP},\n'
        '                     event_id="id")\n'
        'FeatureGroup("user_orders", entity=user, source=events,  # <-\n'
        '             owner="team:shop", features=[order_count])',
    ),
    Explanation(
        "chain",
        "A group cannot read the rows of another one as it does",
        "Rows of a group are known its availability_delay after their time, so what is computed from them cannot be "
        "known sooner; rows of a stream are corrected later; and a group that is no module variable is never computed.",
        "Give the reader the longer availability_delay, or chain groups over batch sources.",
        'user_orders = FeatureGroup("user_orders", entity=user, source=orders,\n'
        '                           owner="team:shop", availability_delay="2h",\n'
        "                           features=[order_count])\n"
        'mean = Feature("user_mean_30d", agg.mean("user_order_count_30d"),\n'
        '               window="30d", dtype=FLOAT)\n'
        'user_habits = FeatureGroup("user_habits", entity=user,  # <-\n'
        "                           source=user_orders.as_source(),\n"
        '                           owner="team:shop", features=[mean])',
    ),
    Explanation(
        "states",
        "An aggregation reads a source whose rows are states, not events",
        "A log of changes has a row for each version of a thing, and a series of copies one in each copy; counted or "
        "summed, they would count again and again.",
        "Write query=, which sees how things are at each instant; or leave changes_of and copies out, if the changes "
        "themselves are the events.",
        'changes = BatchSource("orders_log", table="cdc.orders",\n'
        '                      event_timestamp="ts", event_id="lsn",\n'
        '                      changes_of=["user_id"], schema={\n'
        '                          "user_id": STRING, "lsn": INT, "ts": TIMESTAMP})\n'
        'FeatureGroup("user_orders", entity=user, source=changes,  # <-\n'
        '             owner="team:shop", features=[order_count])',
    ),
    Explanation(
        "not-defined",
        "No group or view of this name and version is defined",
        "The name is looked up among the definitions of the project.",
        "Take one of those that the message lists, such as user_orders@1.",
    ),
)
