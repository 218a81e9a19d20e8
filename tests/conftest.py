# SPDX-License-Identifier: MIT
"""The order of the tests; what is left out on this machine; what they have measured."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from support.recorded import FOLDER, golden_sets
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

# How ``tests/vm/each.py`` names a machine, at the beginning of a test's parameters.
MACHINE = re.compile(r"(?<=\[)[\w.-]+:")

# No clock decides: on a busy machine drawing an example may take long. tests/support/budget.py
# bounds what is to be bounded.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Machines that crash come first: they take minutes.

    Without the recorded crashes their tests are left out; ``pytest_terminal_summary`` says so once.
    """
    items.sort(key=lambda item: item.get_closest_marker("vm") is None)
    if not golden_sets():
        left_out = [item for item in items if item.get_closest_marker("golden")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("golden")]


# xdist's own groups (--dist loadgroup) change the names of tests, and pytest 9.2 does not see that.
class _Machines(LoadScopeScheduling):  # type: ignore[misc]
    """A file's tests go to one process; of a file with several machines, those of each machine."""

    def _split_scope(self, nodeid: str) -> str:
        machine = MACHINE.search(nodeid)
        return str(super()._split_scope(nodeid)) + (machine[0] if machine else "")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Machines | None:
    """For --dist loadscope."""
    return _Machines(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print every "measured" that a test has recorded, of several processes too."""
    if not golden_sets():
        terminalreporter.write_line(
            f"left out: what needs the recorded crashes, which are no part of this repository and "
            f"not in {FOLDER.resolve()}; to run it, name their folder in OLDMEMFS_GOLDEN"
        )
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties:
                if name == "measured":
                    terminalreporter.write_line(str(value))
