"""`fs token`, `grant`, `ungrant`, `grants` and `audit` on a real PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from feature_store.cli import main
from feature_store.registry import commands
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.tokens import is_well_formed
from feature_store.registry.store import Registry
from tests.integration.registry_setting import OWN_DATABASE, applied, run, shop

if TYPE_CHECKING:
    from collections.abc import Callable

    from feature_store.settings import Settings


@pytest.fixture
def fs(registry: Registry, stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("FS_PG_URL", stack.pg_url)
    monkeypatch.setenv("FS_REDIS_URL", stack.redis_url)
    monkeypatch.setattr(commands, "DATABASE", OWN_DATABASE)
    return lambda *arguments: CliRunner().invoke(main, arguments, env={"COLUMNS": "160"})


def test_a_token_from_its_making_to_its_end(fs: Callable[..., Result], registry: Registry) -> None:
    assert fs("audit").output == "Nothing was done yet\n"
    made = fs("token", "create", "ranker", "--for", "service:ranker", "--scope", "read", "--scope", "write",
              "--model", "ranker_v3", "--expires", "7d", "--by", "ann")  # fmt: skip
    assert made.exit_code == 0, made.output
    secret = made.stdout.removesuffix("\n")
    assert is_well_formed(secret), "standard output is the secret and nothing else"
    assert made.stderr.startswith("token ranker for service:ranker, scopes read, write, expires 20")
    token = AccessControl(registry.engine).load().authenticate(secret)
    assert (token.model, token.created_by, token.scopes) == ("ranker_v3", "ann", {"read", "write"})

    listed = fs("token", "list")
    assert all(part in listed.output for part in ("ranker", "service:ranker", "read, write", "ranker_v3", "by ann"))
    revoked = fs("token", "revoke", "ranker", "--by", "bob")
    assert revoked.output == "revoked the token ranker of service:ranker\n"
    assert "There are no tokens" in fs("token", "list").output
    audit = fs("audit")
    lines = [line for line in audit.output.splitlines() if "ranker" in line]
    assert ["revoke token" in lines[0], "create token" in lines[1]] == [True, True]
    later = [listed.output, revoked.output, audit.output, made.stderr, fs("grants").output]
    assert not any(secret in text or secret.removeprefix("fs_") in text for text in later)


def test_a_token_reads_for_90_days_unless_said_otherwise(fs: Callable[..., Result], registry: Registry) -> None:
    fs("token", "create", "short", "--for", "team:shop")
    fs("token", "create", "long", "--for", "team:shop", "--expires", "never")
    long, short = AccessControl(registry.engine).tokens()
    assert (long.expires_at, long.scopes) == (None, {"read"})
    assert short.expires_at is not None
    assert (short.expires_at - short.created_at).days == 90
    run(registry, "UPDATE tokens SET expires_at = now() WHERE name = 'short'")
    listed = fs("token", "list").output
    assert "never" in listed
    assert "expired 20" in listed


def test_grants_are_given_listed_and_taken(fs: Callable[..., Result], registry: Registry) -> None:
    applied(registry, shop())
    assert "There are no grants" in fs("grants").output
    given = fs("grant", "service:ranker", "pii", "user_orders", "--by", "ann")
    assert given.output == "service:ranker has now the grant pii of the group user_orders\n"
    again = fs("grant", "service:ranker", "pii", "user_orders")
    assert again.output == "service:ranker had the grant pii of the group user_orders already\n"
    assert fs("grant", "team:ads", "read", "ranking", "--view").exit_code == 0
    listed = [line.split() for line in fs("grants").output.splitlines()]
    assert ["service:ranker", "pii", "group", "user_orders"] in listed
    assert ["team:ads", "read", "view", "ranking"] in listed
    taken = fs("ungrant", "team:ads", "read", "ranking", "--view")
    assert taken.output == "team:ads no longer has the grant read of the view ranking\n"
    assert "team:ads" not in fs("grants").output
    audit = fs("audit", "--last", "2").output
    assert "ungrant" in audit
    assert "apply" not in audit


def test_mistakes_are_one_line_with_a_remedy(fs: Callable[..., Result], registry: Registry) -> None:
    applied(registry, shop())
    fs("token", "create", "ranker", "--for", "service:ranker")
    mistakes = {
        ("token", "create", "x", "--for", "ranker"): "write team:recommendations or service:ranker [principal]",
        ("token", "create", "ranker", "--for", "team:x"): "./fs token revoke ranker [token-exists]",
        ("token", "create", "x", "--for", "team:x", "--expires", "0d"): "give a duration such as 90d, or none [expiry]",
        ("token", "revoke", "rankr"): "did you mean 'ranker'? tokens are: ranker [no-token]",
        ("grant", "team:x", "read", "user_order"): "did you mean 'user_orders'?",
        ("grant", "team:x", "pii", "ranking", "--view"): "grant pii of each group that they come from [pii-of-view]",
        ("ungrant", "team:x", "read", "user_orders"): "its grants are: none [no-grant]",
    }
    for arguments, remedy in mistakes.items():
        told = fs(*arguments)
        assert (told.exit_code, told.stdout) == (1, ""), arguments
        assert told.stderr.startswith("fs: ")
        assert remedy in told.stderr
        assert told.stderr.count("\n") == 1
