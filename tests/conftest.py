"""The order of the tests; what they have measured is shown at the end, of several processes too."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Machines that crash first: each of these files is one process's, and takes minutes."""
    items.sort(key=lambda item: item.get_closest_marker("vm") is None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print every "measured" that a test has recorded."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties:
                if name == "measured":
                    terminalreporter.write_line(str(value))
