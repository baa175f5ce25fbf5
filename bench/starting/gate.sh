#!/bin/sh
# Can the candidate be released? Exit code 0: pass, 1: FAIL, 2: bad input, 3: inconclusive or measurement invalid.
# Options of `bench gate` may follow, such as --budget 300. Recipes for GitHub, GitLab and Jenkins: docs/gate-in-ci.md
set -eu
cd "$(dirname "$0")"
exec bench gate --run experiment.toml --budget 180 --junit gate.xml --markdown "${GITHUB_STEP_SUMMARY:-gate.md}" "$@"
