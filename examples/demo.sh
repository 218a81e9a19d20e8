#!/bin/sh
# The main job, on a memory image that it makes itself: set up, mount, list, copy, verify, unmount.
set -eu
cd "$(dirname "$0")/.."
sh examples/setup.sh
exec .venv/bin/python -P examples/demo.py
