"""Kinds of trial: a test function that is called many times and says what came of each call.

`@tries("what is tried", quick=15, soak=1500, name=strategy)` draws the arguments that it names;
pytest's fixtures fill the others. The function returns RIGHT or REFUSED, and raises AssertionError
for anything else: a wrong number, a traceback, a hang, a half-written or forgotten file.
"""

import functools
import os
import time
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, settings

SHARE = float(os.environ.get("SOAK") or 0)  # `make soak` sets 1; 0.05 tries a twentieth of it
IS_LONG = SHARE > 0
RIGHT, REFUSED = "right", "refused"


@dataclass
class Tally:
    """What came of a kind's calls until the first that failed."""

    what: str
    outcomes: dict[str, int] = field(default_factory=lambda: {RIGHT: 0, REFUSED: 0})
    seconds: float = 0.0
    is_failing: bool = False

    def add(self, outcome):
        assert outcome in self.outcomes, f"a trial must return right or refused, got {outcome!r}"
        if not self.is_failing:  # what follows is hypothesis looking for a smaller example
            self.outcomes[outcome] += 1

    @property
    def tried(self):
        return sum(self.outcomes.values()) + self.is_failing


def tries(what, quick, soak, is_shrunk=True, **strategies):
    """Decorate a kind of trial. Without `is_shrunk` the first failing example is not made smaller,
    which is for trials that take seconds or do not end twice alike.
    """
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if is_shrunk else [])]
    how = settings(
        max_examples=max(1, round(soak * SHARE)) if IS_LONG else quick,
        derandomize=not IS_LONG,
        database=None,
        deadline=None,
        phases=phases,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )

    def decorate(test):
        tally = Tally(what)

        @functools.wraps(test)
        def once(*arguments, **named):
            started = time.monotonic()
            try:
                tally.add(test(*arguments, **named))
            except Exception:
                tally.is_failing = True
                raise
            finally:
                tally.seconds += time.monotonic() - started

        trial = how(given(**strategies)(once))
        trial.tally = tally
        return trial

    return decorate
