"""How a command says that it did not work."""

from __future__ import annotations


class CliFailure(Exception):
    """Ends the command: the message goes to stderr. Exit code 2 for bad input, 1 for a failure."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code
