"""Measurements of speed and memory."""

from reid.runtime import starting

starting.end_by_signals()
