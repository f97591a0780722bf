"""Which refusals are worth a line of the history, and how many: nobody is to flood it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

BURST = 20
EVERY_S = 30.0
_MOST_CALLERS = 10_000


@dataclass(slots=True)
class _Account:
    """How many refusals of one caller may still be told, as of when, and how many were left out."""

    left: float
    since: float
    untold: int = 0


class RefusalBudget:
    """Lets each caller have `BURST` refusals told, and then one every `EVERY_S` seconds.

    Parameters
    ----------
    clock
        Unix seconds now.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._accounts: dict[int | None, _Account] = {}

    def spend(self, uid: int | None) -> int | None:
        """Whether the next refusal of that caller is told.

        Parameters
        ----------
        uid
            None: whoever could not say who it is.

        Returns
        -------
        int or None
            How many were left out before it; None when it is left out too.
        """
        now = self._clock()
        if uid not in self._accounts and len(self._accounts) >= _MOST_CALLERS:
            self._forget_full(now)
        account = self._accounts.setdefault(uid, _Account(BURST, now))
        account.left = min(BURST, account.left + max(0.0, now - account.since) / EVERY_S)
        account.since = now
        if account.left < 1:
            account.untold += 1
            return None
        account.left -= 1
        untold, account.untold = account.untold, 0
        return untold

    def _forget_full(self, now: float) -> None:
        """Drop those who were not refused for so long that they have all their budget again."""
        rested = [uid for uid, account in self._accounts.items() if now - account.since > BURST * EVERY_S]
        for uid in rested or list(self._accounts)[:1]:
            del self._accounts[uid]
