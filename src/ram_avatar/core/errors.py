"""Errors that a user can mend."""


class UserError(Exception):
    """Something about the user's input or machine is wrong.

    The message is one line: what is wrong (naming the file) and what to do about it. The command line
    prints it without a traceback and exits with code 2.
    """
