"""What every command runs on."""

from reid.runtime import starting

starting.end_by_signals()
