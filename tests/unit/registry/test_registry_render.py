"""What a plan looks like, at 100 columns, with and without colour."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, RenderableType

from feature_store.plan.build import build_plan
from feature_store.plan.duplicates import duplicates_of
from feature_store.plan.sharing import sharing_groups
from feature_store.registry.changes import RegistryPlan
from feature_store.registry.desired import desired_state
from feature_store.registry.diff import plan_changes
from feature_store.registry.listing import render_all, render_group, render_view
from feature_store.registry.records import RegistryState, UsageRecord
from feature_store.registry.render import render_duplicates, render_plan, render_sharing
from tests.unit.registry.registry_cases import COUNT, ITEM_RANK, LAST, MEAN, USER_ORDERS, altered, compiled, group, view

SNAPSHOTS = Path(__file__).parent / "snapshots"


def shown(renderable: RenderableType, color: bool = False) -> str:
    """The text as printed on 100 columns, without the blanks at line ends."""
    console = Console(width=100, file=io.StringIO(), force_terminal=color, color_system="standard" if color else None)
    console.print(renderable)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def mixed_plan() -> RegistryPlan:
    """A plan with a change of every kind."""
    ranks = group(ITEM_RANK)
    old = group(USER_ORDERS, name="old_orders")
    before = [view("ranking", group(USER_ORDERS), ranks), group(USER_ORDERS, name="user_steady"), old]
    long_query = ITEM_RANK["query"].replace(
        "GROUP", "\n WHERE price > 0 AND price < 100000 AND price <> 9999.99\nGROUP"
    )
    after = [
        view("ranking", group(USER_ORDERS), ranks, owner="team:search"),
        view("repurchase", group(USER_ORDERS, version=2)),
        group(
            USER_ORDERS,
            owner="team:growth",
            freshness="3h",
            features=[COUNT, MEAN, LAST, altered(COUNT, name="user_big_order_count_30d", where="amount > 100")],
        ),
        group(ITEM_RANK, query=long_query, ttl="1d", owner="team:search"),
        group(USER_ORDERS, name="user_steady"),
    ]
    return plan_changes(desired_state(compiled(*before)), compiled(*after))


def test_a_plan_reads_as_a_diff() -> None:
    assert shown(render_plan(mixed_plan())) == (SNAPSHOTS / "plan.txt").read_text()


def test_colour_only_adds_colour() -> None:
    coloured = shown(render_plan(mixed_plan()), color=True)
    assert "\x1b[" in coloured
    plain = "\n".join(line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", coloured).splitlines()) + "\n"
    assert plain == shown(render_plan(mixed_plan()))


def test_a_plan_of_nothing_says_so_in_one_line() -> None:
    assert shown(render_plan(RegistryPlan("", unchanged=7))) == (
        "0 to create, 0 to change safely, 0 breaking, 7 unchanged\n"
    )


def test_one_group_shows_its_columns_literally() -> None:
    texts = altered(LAST, default="[bold]", description="A state [as of] now.")
    (record,) = desired_state(compiled(group(USER_ORDERS, features=[COUNT, MEAN, texts]))).groups
    text = shown(render_group(record))
    assert "user_orders@1  feature group" in text
    assert re.search(r"ttl +none", text)
    assert re.search(rf"fingerprint +{record.fingerprint}", text)
    assert re.search(r"user_order_count_30d +INT +0 +Orders of a month\.", text)
    assert re.search(r'user_last_status_all_time +STRING +"\[bold\]" +A state \[as of\] now\.', text)


def test_one_view_shows_features_in_its_order_and_the_models_that_use_it() -> None:
    state = desired_state(compiled(view("ranking", group(USER_ORDERS), group(ITEM_RANK))))
    groups = {record.id: record for record in state.groups}
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    used = UsageRecord("ranking@1", "view", "ranker", "training", moment, moment, 1)
    text = shown(render_view(state.views[0], tuple(groups[name] for name in state.views[0].groups), (used,)))
    assert text.index("user_order_count_30d") < text.index("item_rank  ")
    assert re.search(r"ranker +training +2026-03-01 +2026-03-01", text)


def test_the_list_has_a_line_for_each_group_and_view() -> None:
    state = desired_state(compiled(view("ranking", group(USER_ORDERS), group(ITEM_RANK))))
    text = shown(render_all(state.groups, state.views))
    assert re.search(r"item_rank@1 +item +1 +2d +team:catalogue +ACTIVE", text)
    assert re.search(r"ranking@1 +user_orders@1, item_rank@1 +team:ranking", text)
    empty = RegistryState()
    assert shown(render_all(empty.groups, empty.views)) == "Nothing is recorded yet: run ./fs apply\n"


def test_what_is_computed_twice_is_a_note() -> None:
    copy = group(USER_ORDERS, name="user_basket", owner="team:checkout")
    notes = shown(render_duplicates(duplicates_of([build_plan(copy), build_plan(group(USER_ORDERS))])))
    assert notes.startswith(
        "\nComputed twice\n"
        "  note: user_orders@1/user_order_count_30d computes what user_basket@1/user_order_count_30d\n"
        "  (team:checkout) already computes\n"
    )


def test_groups_of_the_same_tiles_are_a_line() -> None:
    other = group(USER_ORDERS, name="user_basket", owner="team:checkout")
    text = shown(render_sharing(sharing_groups([build_plan(other), build_plan(group(USER_ORDERS))])))
    assert text == (
        "\nComputed from the same tiles, once for all that are in a run\n    user_basket@1, user_orders@1\n"
    )
