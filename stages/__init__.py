"""The stages, each a command."""

from reid.runtime import starting

starting.end_by_signals()
