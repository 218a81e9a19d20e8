#!/bin/sh
# SPDX-License-Identifier: MIT
# The main job, on a memory image that it makes itself: set up, mount, look, copy, check, unmount.
set -eu
cd "$(dirname "$0")/.."
sh examples/setup.sh
exec .venv/bin/python -P examples/demo.py
