"""Errors that a user can mend, and errors of a missing extra."""


class UserError(Exception):
    """Something about the user's input or machine is wrong.

    The message is one line: what is wrong (naming the file) and what to do about it. The command line
    prints it without a traceback and exits with code 2.
    """


def missing_extra(package: str, extra: str, purpose: str) -> UserError:
    """The error for an optional `package` that is not installed; `purpose` completes "is needed to ..."."""
    return UserError(f"{package} is needed to {purpose}: pip install 'ram-avatar[{extra}]'")
