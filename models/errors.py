"""The errors that a user can cause and mend."""


class CelosiaError(ValueError):
    """Something the user gave cannot be used. The message says what, where and what to do.

    The command line prints the message without a traceback and exits with status 1.
    """


class NotFiniteError(ValueError):
    """Trained parameters hold a NaN or an infinity: no choice of formats helps."""


class MissingToolError(CelosiaError):
    """A program that a command needs is not installed. The message says how to get it."""
