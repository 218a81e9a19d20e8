"""A real kernel crash in an emulated machine, with oldmemfs mounted in the capture kernel."""

import sys
from pathlib import Path

# The payload script is an example, not a package.
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
