"""The one exception that stands for a user's mistake; `reid.runtime.cli` prints it without a
traceback.
"""


class InputError(Exception):
    """Bad input, described in one paragraph: what, where, got, wanted, and what to do next."""
