"""Errors that the user can fix."""


class UserError(Exception):
    """Something is wrong with the user's input or machine.

    The message is one line: what is wrong, naming the file, and what to do about it. The command line prints it
    without a traceback and exits with code 2.
    """
