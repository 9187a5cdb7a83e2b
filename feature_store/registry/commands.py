"""`fs plan`, `apply`, `get`, `lineage` and `retire`; they import what they need when run, as the command line does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from feature_store.plan.project import CompiledProject
    from feature_store.registry.records import Kind
    from feature_store.registry.store import Registry

DEFINITIONS = "feature_defs"
DATABASE = "registry"
BREAKING = 2  # exit code of a plan that `apply` would refuse


@click.command("plan")
@click.pass_context
def plan(context: click.Context) -> None:
    """Show what `fs apply` would change in the registry, and what is computed twice. Exit code 2 if it is breaking."""
    from rich.console import Console

    from feature_store.plan.duplicates import duplicates_of
    from feature_store.plan.sharing import sharing_groups
    from feature_store.registry.render import render_duplicates, render_plan, render_sharing

    registry, console = open_registry(), Console()
    definitions = _compiled(registry)
    changes = registry.plan(definitions)
    console.print(render_plan(changes))
    if duplicates := duplicates_of(definitions.groups.values()):
        console.print(render_duplicates(duplicates))
    if sharing := sharing_groups(definitions.groups.values()):
        console.print(render_sharing(sharing))
    if changes.breaking:
        context.exit(BREAKING)


@click.command("apply")
@click.option("--by", help="Who applies it; your user name unless given.")
def apply(by: str | None) -> None:
    """Record the definitions in the registry, all of them or none."""
    from rich.console import Console

    from feature_store.registry.render import render_plan

    registry, console = open_registry(), Console()
    changes = registry.plan(_compiled(registry))
    console.print(render_plan(changes))
    applied = registry.apply(changes, by or user_name())
    console.print("nothing to apply" if applied is None else f"applied plan #{applied.plan_id}")


@click.command("get")
@click.argument("definition", required=False, metavar="[NAME@VERSION]")
def get(definition: str | None) -> None:
    """List what is recorded, or show one group, view or registered model, such as user_orders@1."""
    from rich.console import Console

    from feature_store.errors import NotFoundError
    from feature_store.registry.listing import render_all, render_group, render_model, render_view
    from feature_store.registry.models import RegisteredModels

    registry, console = open_registry(), Console()
    models = {model.id: model for model in RegisteredModels(registry).all()}
    groups = {group.id: group for group in registry.groups()}
    views = {view.id: view for view in registry.views()}
    if definition is None:
        console.print(render_all(tuple(groups.values()), tuple(views.values()), tuple(models.values())))
        return
    if definition in groups:
        console.print(render_group(groups[definition]))
    elif definition in views:
        view = views[definition]
        read = tuple(groups[group] for group in view.groups)
        console.print(render_view(view, read, registry.usage(definition)))
    if definition in models:  # it may be called as its view is
        console.print(render_model(models[definition]))
    elif definition not in groups and definition not in views:
        known = [*groups, *views, *models]
        near = [other for other in known if other.partition("@")[0] == definition.partition("@")[0]] or known
        raise NotFoundError(
            f"{definition!r} is neither a recorded feature group, nor a feature view, nor a model",
            remedy=f"recorded are: {', '.join(near)}" if near else "nothing is recorded yet: run ./fs apply",
            code="not-recorded",
        )


@click.command("export")
@click.argument("group", metavar="NAME@VERSION")
def export(group: str) -> None:
    """Print a recorded group as Python: how a group that was posted to the server becomes code."""
    from feature_store.dsl.collect import declarations
    from feature_store.dsl.python_code import python_code

    registry = open_registry()
    record = registry.group(group)
    entity = next(entity for entity in registry.entities() if entity.name == record.entity)
    click.echo(python_code(record.group(entity), declarations(DEFINITIONS)), nl=False)
    where = f"{DEFINITIONS.replace('.', '/')}/"
    if record.posted:
        note = f"put this into a module of {where} and run ./fs apply: from then on the code has {group}"
    else:
        note = f"{group} was recorded by ./fs apply, and is in {where} unless somebody took it out"
    click.echo(note, err=True)


@click.command("lineage")
@click.argument("subject", metavar="NAME")
def lineage(subject: str) -> None:
    """Show what something comes from and what comes from it, down to the models.

    NAME is a feature (user_orders@1/user_order_count_30d), a group, view (ranking@1) or registered model (ranker@3), a
    source (orders) or one of its columns (orders.amount).
    """
    from rich.console import Console

    from feature_store.registry.listing import render_lineage

    Console().print(render_lineage(open_registry().lineage(subject)))


@click.command("retire")
@click.argument("definition", metavar="NAME@VERSION")
@click.option("--view", "kind", flag_value="view", default="group", help="It is a view, not a group.")
@click.option("--model", "kind", flag_value="model", help="It is a registered model.")
@click.option("--unused-for", default="90d", show_default=True, help="How long no model must have used it.")
@click.option("--by", help="Who retires it; your user name unless given.")
def retire(definition: str, kind: Kind | Literal["model"], unused_for: str, by: str | None) -> None:
    """Record a deprecated group (or view) as gone for good, once its removal date has passed and nothing reads it.

    A registered model is retired at once: it is not served any more, and its view may be retired after it.
    """
    from feature_store.duration import parse_duration

    registry = open_registry()
    if kind == "model":
        from feature_store.registry.models import RegisteredModels

        retired = RegisteredModels(registry).retire(definition, by or user_name())
        click.echo(f"retired the model {retired.id}, which read {retired.view}")
        return
    project = _compiled(registry).project
    groups = [group.id for group in project.groups if group.id not in project.posted]
    defined = [view.id for view in project.views] if kind == "view" else groups
    try:
        unused = parse_duration(unused_for)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--unused-for") from None
    done = registry.retire(definition, by or user_name(), kind=kind, defined=defined, unused_for=unused)
    click.echo(f"retired {definition}, recorded as plan #{done.plan_id}; its rows stay where they are")


def open_registry() -> Registry:
    """The stack's registry with the tables of this version."""
    from feature_store.registry.store import Registry
    from feature_store.settings import Settings

    registry = Registry(Settings.load().database_url(DATABASE))
    registry.upgrade()
    return registry


def _compiled(registry: Registry) -> CompiledProject:
    """The project: what is in the code, and what was posted to the server."""
    from feature_store.compile.query_binding import check_queries
    from feature_store.dsl.collect import load_project
    from feature_store.plan.project import compile_project
    from feature_store.registry.posted import with_posted

    compiled = compile_project(with_posted(load_project(DEFINITIONS), registry.posted()))
    check_queries(compiled.groups.values())
    return compiled


def user_name() -> str:
    """The user's name, or "unknown" for a process of a user without one, as in some containers."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
