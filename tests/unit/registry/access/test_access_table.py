"""Who a presented secret belongs to, and what is said of one that belongs to nobody any more."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.errors import AccessError, InputError, TokenError
from feature_store.registry.access.decision import Grant, Guarded, decide
from feature_store.registry.access.reader import LocalReader
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.table import AccessTable
from feature_store.registry.access.tokens import (
    SCOPES,
    NewToken,
    Principal,
    Token,
    as_scopes,
    hash_of,
    is_well_formed,
    new_secret,
)
from serving.auth import Gate
from serving.rate import RateLimits
from tests.unit.registry.access import access_cases as cases
from tests.unit.registry.access.access_cases import grant, token

SECRET = new_secret()


def table(**changes: Any) -> AccessTable:
    """A table of one token, whose secret is SECRET."""
    return AccessTable({hash_of(SECRET): token(**changes)}, frozenset([grant("service:x read group orders")]))


def refused(presented: str, **changes: Any) -> tuple[str, str]:
    """The code and the message with which a secret is refused."""
    with pytest.raises(TokenError) as error:
        table(**changes).authenticate(presented)
    assert SECRET not in str(error.value)
    assert error.value.remedy
    return error.value.code, error.value.message


def test_a_live_token_is_found_by_its_secret() -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    assert table(expires_at=later).authenticate(SECRET) == token(expires_at=later)
    assert table().authenticate(SECRET).principal == Principal("service", "x")


def test_a_token_that_ended_is_refused_with_the_time() -> None:
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert refused(SECRET, expires_at=moment) == ("token-expired", "the token t expired at 2026-01-31 12:00:00 UTC")
    assert refused(SECRET, revoked_at=moment) == ("token-revoked", "the token t was revoked at 2026-01-31 12:00:00 UTC")
    assert refused(SECRET, expires_at=moment, revoked_at=moment)[0] == "token-revoked"


def test_what_is_nobodys_token_is_unknown_or_malformed() -> None:
    assert refused(new_secret())[0] == "token-unknown"
    torn = ["", " ", "fs_", SECRET[:-1], SECRET + "x", SECRET.upper(), f" {SECRET}", f"{SECRET}\n"]
    for text in [*torn, "ключ", "\udcff", "Bearer " + SECRET, hash_of(SECRET)]:
        assert refused(text)[0] in ("token-malformed", "token-unknown")
        assert (refused(text)[0] == "token-unknown") == is_well_formed(text)
    assert refused("")[0] == refused(hash_of(SECRET))[0] == "token-malformed"


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_whatever_is_presented_is_refused_as_a_token(text: str) -> None:
    assert refused(text)[0] == "token-malformed"


def test_secrets_are_all_different_and_recognizable() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(is_well_formed(secret) for secret in made)
    assert len({hash_of(secret) for secret in made}) == 100


def test_a_secret_is_in_no_representation() -> None:
    assert SECRET not in repr(NewToken(token(), SECRET))
    assert hash_of(SECRET) not in repr(table())


def test_a_table_cannot_be_changed_and_decides_by_its_grants() -> None:
    known = table()
    with pytest.raises(dataclasses.FrozenInstanceError):
        known.grants = frozenset()  # type: ignore[misc]
    asked = Guarded("group", "orders@1", "team:shop", "private")
    assert known.decide(known.authenticate(SECRET), "read", asked).allowed
    assert not AccessTable().decide(token(), "read", asked).allowed


@pytest.mark.parametrize(
    "text", ["", "shop", "team:", "team", "group:shop", "Team:shop", "team:a b", "team:a\n", "x:y:z"]
)
def test_what_is_neither_a_team_nor_a_service(text: str) -> None:
    with pytest.raises(InputError, match="is neither a team nor a service -> write team:recommendations or"):
        Principal.parse(text)


def test_principals_are_written_as_they_are_read() -> None:
    for text in ("team:shop", "service:ranker-2.eu_west"):
        assert str(Principal.parse(text)) == text


def test_scopes_of_a_token() -> None:
    assert as_scopes(["write", "read", "read"]) == {"read", "write"}
    for wrong in ([], ["pii"], ["read", "delete"]):
        with pytest.raises(InputError, match="is no scope of a token -> give one or more of read, write, admin"):
            as_scopes(wrong)


@pytest.mark.parametrize("action", SCOPES)
def test_admin_holds_the_other_scopes(action: Any) -> None:
    assert token("team:x", "admin").permits(action)
    assert token("team:x", action).permits(action)
    others: list[Token] = [token("team:x", scope) for scope in SCOPES if scope not in (action, "admin")]
    assert not any(each.permits(action) for each in others)


class Loaded(AccessControl):
    """Tokens and grants that are known already."""

    def __init__(self, table: AccessTable) -> None:
        self.table = table

    def load(self) -> AccessTable:
        return self.table


@given(cases.tokens, cases.guarded, cases.grants)
def test_a_server_and_a_process_by_itself_decide_the_same(
    asker: Token, asked: Guarded, grants: frozenset[Grant]
) -> None:
    bearer = dataclasses.replace(asker, expires_at=None, revoked_at=None)
    known = AccessTable({hash_of(SECRET): bearer}, grants)
    gate = Gate(lambda: known, required=True, limits=RateLimits(0))
    served: Any = SimpleNamespace(guarded=asked)
    caller = gate.caller({b"authorization": f"Bearer {SECRET}".encode()})
    decision = decide(bearer, "read", asked, grants)
    for masked in (
        lambda: gate.masked(caller, served),
        lambda: gate.masked(caller, served),  # remembered
        lambda: LocalReader(Loaded(known), SECRET).masked(asked),
    ):
        if decision.allowed:
            assert masked() == decision.masked
        else:
            with pytest.raises(AccessError, match=r"may not read|has not the scope read"):
                masked()
    assert LocalReader(Loaded(known), "").masked(asked) == gate.masked(None, served) == frozenset()
