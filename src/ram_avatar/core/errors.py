"""Errors that the user can fix."""

from .text import one_line

LONGEST_MESSAGE = 300  # characters


class UserError(Exception):
    """Something is wrong with the user's input or machine.

    The message is one line: what is wrong, naming the file, and what to do about it. The command line prints it
    without a traceback and exits with code 2. Whatever text it quotes, the message has no control characters and at
    most `LONGEST_MESSAGE` characters.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message, LONGEST_MESSAGE))
