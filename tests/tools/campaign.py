# SPDX-License-Identifier: MIT
"""Much damage to real recorded crashes: ``python tests/tools/campaign.py --cases 2000``.

Each finding is shown with the words that run it again. See ``damage``.
"""

from __future__ import annotations

import argparse
import collections
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import recorded
from support.damage import CPU, Finding, Target


def resident() -> int:
    """The most bytes that this process ever had in memory, but for mapped images."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def run(target: Target, number: int, mountpoint: Path | None = None) -> str:
    """One case; raises ``Finding``."""
    blows = target.blows(number)
    begun = time.process_time()
    with target.damaged(blows):
        outcome = target.check_mount(mountpoint) if mountpoint else target.check(blows)
    used = time.process_time() - begun
    if used > CPU:
        raise Finding(f"{used:.1f} s of processor time")
    return outcome


def main() -> None:
    """A campaign: all recorded crashes in turn, until cases or seconds are used up."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--golden", action="append", help="these recorded crashes alone")
    parser.add_argument("--first", type=int, default=0, help="the first case's number")
    parser.add_argument("--cases", type=int, default=300, help="of each crash")
    parser.add_argument("--seconds", type=float, default=1e9, help="to begin no case after")
    parser.add_argument("--mount", type=int, default=0, help="so many of them through a mount, too")
    words = parser.parse_args()
    begun, findings = time.monotonic(), 0
    outcomes: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="oldmemfs-campaign-") as folder:
        targets = [Target(name, folder) for name in words.golden or recorded.golden_sets()]
        base = resident()
        for number in range(words.first, words.first + words.cases):
            for target in targets:
                if time.monotonic() - begun > words.seconds:
                    break
                ways = [None, Path(folder, "mnt")][: 1 + (number - words.first < words.mount)]
                for mountpoint in ways:
                    try:
                        outcomes[run(target, number, mountpoint)] += 1
                    except Exception:
                        findings += 1
                        print(f"FINDING: --golden {target.name} --first {number} --cases 1")
                        traceback.print_exc()
        grown = resident() - base
    for outcome, count in outcomes.most_common():
        print(f"{count:8} {outcome}")
    print(f"{outcomes.total()} cases, {findings} findings; {grown >> 20} MiB more at most")
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
