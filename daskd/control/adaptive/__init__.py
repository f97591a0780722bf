"""The adaptive policy: how many workers a cluster should have, and which of them go. Pure: no clock, no I/O.

:func:`decide` is the policy; :func:`place` says which groups can run what, and what none can;
:func:`choose_victims` ranks what goes when a user asks for fewer workers; :func:`notice` is how long before its end an
instance must go.
"""

from daskd.control.adaptive.ending import notice
from daskd.control.adaptive.placing import place
from daskd.control.adaptive.policy import decide, is_stale
from daskd.control.adaptive.victims import Victims, choose_victims

__all__ = ["Victims", "choose_victims", "decide", "is_stale", "notice", "place"]
