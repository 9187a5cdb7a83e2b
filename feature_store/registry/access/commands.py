"""`fs token`, `grant`, `ungrant`, `grants` and `audit`; they import what they need when run, like the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from feature_store.registry.commands import open_registry, user_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from feature_store.registry.access.decision import Scope
    from feature_store.registry.access.store import AccessControl
    from feature_store.registry.records import Kind

NEVER = "never"
TOKEN_SCOPES = ("read", "write", "admin")
GRANT_SCOPES = (*TOKEN_SCOPES, "pii")


@click.group("token")
def token() -> None:
    """Make, show and revoke the tokens with which teams and services read and write features."""


@token.command("create")
@click.argument("name")
@click.option("--for", "principal", required=True, metavar="team:x|service:y", help="Whom it belongs to.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=["read"],
    show_default=True,
    type=click.Choice(TOKEN_SCOPES),
    help="What may be done with it at all; may be given several times.",
)
@click.option("--model", help="The model that it serves.")
@click.option("--expires", default="90d", show_default=True, help='How long it is good for, or "never".')
@click.option("--by", help="Who makes it; your user name unless given.")
def create(name: str, principal: str, scopes: tuple[str, ...], model: str | None, expires: str, by: str | None) -> None:
    """Make a token called NAME and print its secret, once: nobody can find it out again.

    The secret alone goes to standard output, what else there is to say to standard error.
    """
    from feature_store.registry.access.listing import until
    from feature_store.registry.access.tokens import Principal

    belongs_to, expires_in = Principal.parse(principal), _microseconds(expires)
    made = _access().create_token(
        name, belongs_to, by or user_name(), scopes=scopes, model=model, expires_in=expires_in
    )
    held = ", ".join(sorted(made.token.scopes))
    click.echo(f"token {name} for {belongs_to}, scopes {held}, expires {until(made.token.expires_at)}", err=True)
    click.echo("its secret, shown only now:", err=True)
    click.echo(made.secret)


@token.command("list")
def list_() -> None:
    """List the tokens that are not revoked."""
    from feature_store.registry.access.listing import render_tokens

    _print(render_tokens(_access().tokens()))


@token.command("revoke")
@click.argument("name")
@click.option("--by", help="Who revokes it; your user name unless given.")
def revoke(name: str, by: str | None) -> None:
    """Take a token back, for good; servers refuse it from their next look on."""
    revoked = _access().revoke_token(name, by or user_name())
    click.echo(f"revoked the token {name} of {revoked.principal}")


def _grant_arguments(command: Callable[..., None]) -> Callable[..., None]:
    """What a grant is named by, and who gives or takes it."""
    for argument in (
        click.option("--by", help="Who does it; your user name unless given."),
        click.option("--view", "kind", flag_value="view", default="group", help="It is a view, not a group."),
        click.argument("name"),
        click.argument("scope", metavar="read|write|admin|pii", type=click.Choice(GRANT_SCOPES)),
        click.argument("principal", metavar="team:x|service:y"),
    ):
        command = argument(command)
    return command


@click.command("grant")
@_grant_arguments
def grant(principal: str, scope: Scope, name: str, kind: Kind, by: str | None) -> None:
    """Let a team or service do something with all versions of a group (or view), as in

    ./fs grant service:ranker read user_orders

    read is for what is private; write and admin hold for what others own; pii shows personal data, which are masked
    otherwise.
    """
    from feature_store.registry.access.tokens import Principal

    new = _access().grant(Principal.parse(principal), scope, name, by or user_name(), kind=kind)
    which = f"the grant {scope} of the {kind} {name}"
    click.echo(f"{principal} has now {which}" if new else f"{principal} had {which} already")


@click.command("ungrant")
@_grant_arguments
def ungrant(principal: str, scope: Scope, name: str, kind: Kind, by: str | None) -> None:
    """Take a grant back; servers act on it from their next look on."""
    from feature_store.registry.access.tokens import Principal

    _access().ungrant(Principal.parse(principal), scope, name, by or user_name(), kind=kind)
    click.echo(f"{principal} no longer has the grant {scope} of the {kind} {name}")


@click.command("grants")
def grants() -> None:
    """List all grants."""
    from feature_store.registry.access.listing import render_grants

    _print(render_grants(_access().grants()))


@click.command("audit")
@click.option("--last", "limit", default=50, show_default=True, type=click.IntRange(1), help="How many entries.")
def audit(limit: int) -> None:
    """Show who changed what lately: definitions, tokens, grants; the latest first."""
    from feature_store.registry.access.listing import render_entries

    _print(render_entries(_access().entries(limit)))


def _microseconds(expires: str) -> int | None:
    from feature_store.duration import parse_duration

    if expires == NEVER:
        return None
    try:
        return parse_duration(expires)
    except ValueError as error:
        raise click.BadParameter(f'{error}, or "{NEVER}"', param_hint="--expires") from None


def _access() -> AccessControl:
    from feature_store.registry.access.store import AccessControl

    return AccessControl(open_registry().engine)


def _print(shown: RenderableType) -> None:
    from rich.console import Console

    Console().print(shown)
