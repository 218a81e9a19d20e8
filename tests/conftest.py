"""The order of the tests; what is left out on this machine; what they have measured."""

from __future__ import annotations

import pytest
from golden import FOLDER, golden_sets
from hypothesis import HealthCheck, settings

# No clock decides: on a busy machine drawing an example may take long. tests/budget.py bounds
# what is to be bounded.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Machines that crash come first, they take minutes; a file's tests go to one process.

    Of a file with several machines, those of each machine (``tests/vm/each.py``). Without the
    recorded crashes their tests are left out; ``pytest_terminal_summary`` says so once.
    """
    items.sort(key=lambda item: item.get_closest_marker("vm") is None)
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    if not golden_sets():
        left_out = [item for item in items if item.get_closest_marker("golden")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("golden")]


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
