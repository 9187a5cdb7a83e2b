"""Errors of tokens, grants and access."""

from __future__ import annotations

from feature_store.explanations.explanation import Explanation

ACCESS = (
    Explanation(
        "token-malformed",
        "What was presented is not a token of this feature store",
        "A token is fs_ and 43 letters, digits, - or _; this one is empty, cut off, or something else.",
        "Send the whole secret that ./fs token create has shown, as Authorization: Bearer fs_….",
    ),
    Explanation(
        "token-unknown",
        "No such token is known",
        "It was made for another registry, or ended more than 30 days ago.",
        "Make another one: ./fs token create.",
    ),
    Explanation(
        "token-expired",
        "A token has expired",
        "Tokens are good for 90 days unless said otherwise, so that a lost one does not open the doors for ever.",
        "Revoke it, and make another one of its name: ./fs token create.",
    ),
    Explanation(
        "token-revoked",
        "A token was revoked",
        "Somebody took it back; ./fs audit shows who and when.",
        "Make another one: ./fs token create.",
    ),
    Explanation(
        "access-denied",
        "Whoever asks may not do what was asked",
        "What is private is read by its owner and by those who have a grant; only its owner, those who have a grant, "
        "and tokens with the scope admin write or administer a definition; and a token does nothing beyond its scopes.",
        "Ask the owner for the grant that the message names, or use a token with the scope.",
    ),
    Explanation(
        "principal",
        "A text is neither a team nor a service",
        "Tokens and grants belong to teams, which own definitions, and to services, which own none.",
        "Write team:recommendations or service:ranker.",
    ),
    Explanation(
        "scope",
        "A token cannot have these scopes",
        "Scopes of a token are read, write and admin, and it needs one; pii is granted, by group.",
        "Give one or more of read, write and admin.",
    ),
    Explanation(
        "token-name",
        "A token has no name",
        "It is shown, revoked and found in the audit log by its name.",
        "Name it after its use, such as ranker.",
    ),
    Explanation(
        "expiry",
        "A token would be good for no time, or for too long",
        "It has to end after now, and before the year 10000.",
        "Give a duration such as 90d, or never.",
    ),
    Explanation(
        "token-exists",
        "There is a token of this name already",
        "A name means one token at a time, expired ones too, until it is revoked.",
        "Choose another name, or revoke that token first.",
    ),
    Explanation(
        "no-token",
        "There is no token of this name to revoke",
        "It was never made, or is revoked already.",
        "Take one of those that ./fs token list shows.",
    ),
    Explanation(
        "no-grant",
        "There is no such grant to take back",
        "It was never given, or is of another scope, or of a view instead of a group.",
        "Take one of those that ./fs grants shows.",
    ),
    Explanation(
        "pii-of-view",
        "Personal data cannot be granted by a view",
        "They belong to the group that they come from; else whoever writes a view could show them to others.",
        "Grant pii of each group that they come from: ./fs grant PRINCIPAL pii GROUP.",
    ),
)
