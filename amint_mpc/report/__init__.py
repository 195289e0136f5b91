"""One page about a finished run, or about a study: complete in itself, for people who did not take part.

1. Read the folder as what it is, data from somebody else (`files`, `run`, `comparison`, `study`).
2. Decide which folders belong together, and from whose side they are told (`audit`).
3. Turn scores into rates and curves (`statistics`), those into figures (`charts`, `drawing`).
4. Fill the templates and write one HTML file (`page`).
"""

import sys
from types import ModuleType

from amint_mpc.report.call import report as report


class _Callable(ModuleType):
    """`amint_mpc.report(run)` writes a page. The function and this package have one name, and whichever is loaded first
    would hide the other: so they are one."""

    __call__ = staticmethod(report)


sys.modules[__name__].__class__ = _Callable
