"""Errors that a user can act on."""


class UserError(Exception):
    """Something the user can put right: one line that says what is wrong, where, and what to do."""
