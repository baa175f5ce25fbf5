#!/bin/sh
# How do the servers develop from night to night? Measures once more into history/, which CI keeps, and draws the course.
# Ends with the code of what failed, 0 where both were done: whatever has changed is in the text and in history.html.
# Options of `bench run` may follow. Needs matplotlib: pip install 'serving-bench[pictures]'
set -eu
cd "$(dirname "$0")"
bench run experiment.toml --results history "$@"
exec bench history history --html history.html
