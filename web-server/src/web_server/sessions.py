"""Tokens of log-ins, each signed while its account is locked.

The lock orders the signing against a new password, a logout or another role. Either the token is
signed first, and its `iat` lies before the new `tokens_valid_after`; or signing sees the change.
"""

from idrl_common.token_verifier import Identity, token_refused
from web_server import accounts
from web_server.models import User
from web_server.services import AccountDisabled, BadCredentials
from web_server.token_signer import TokenSigner


def begin(user: User, signer: TokenSigner) -> str:
    """Return the first token of a log-in with the password that `user` has.

    Raise BadCredentials where it was changed meanwhile, or AccountDisabled.
    """
    with accounts.locked_account(user.id) as current:
        if current is None or current.password_hash != user.password_hash:
            raise BadCredentials
        if current.disabled_at is not None:
            raise AccountDisabled
        return signer.sign(current.id, current.role, not_before_s=accounts.ended_at_s(current))


def renew(identity: Identity, signer: TokenSigner) -> str:
    """Return another token of the same log-in; raise a 401 Problem where its tokens were ended."""
    with accounts.locked_account(identity.user_id) as current:
        if current is None or current.disabled_at is not None:
            raise token_refused()
        ended_at_s = accounts.ended_at_s(current)
        if identity.issued_at_s < ended_at_s:
            raise token_refused()
        logged_in_at_s = identity.logged_in_at_s
        return signer.sign(
            current.id, current.role, logged_in_at_s=logged_in_at_s, not_before_s=ended_at_s
        )
