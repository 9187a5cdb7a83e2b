"""What the commands of access decide without a database."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from feature_store.cli import main
from feature_store.registry.access import commands
from feature_store.registry.access.decision import GRANT_SCOPES
from feature_store.registry.access.tokens import SCOPES


def test_the_scopes_offered_are_those_there_are() -> None:
    assert (commands.TOKEN_SCOPES, commands.GRANT_SCOPES) == (SCOPES, GRANT_SCOPES)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["token", "create", "ranker"], "Missing option '--for'"),
        (["token", "create", "ranker", "--for", "team:x", "--scope", "pii"], "'pii' is not one of 'read'"),
        (["token", "create", "ranker", "--for", "team:x", "--expires", "soon"], "such as '90d', or \"never\""),
        (["grant", "team:x", "read"], "Missing argument"),
        (["grant", "team:x", "delete", "user_orders"], "'delete' is not one of"),
        (["ungrant"], "Missing argument"),
        (["audit", "--last", "0"], "is not in the range"),
    ],
)
def test_wrong_arguments_are_a_matter_of_usage(arguments: list[str], said: str) -> None:
    told = CliRunner().invoke(main, arguments)
    assert told.exit_code == 2
    assert said in told.stderr
