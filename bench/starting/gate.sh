#!/bin/sh
# May the candidate be released? Ends with 0: pass, 1: FAIL, 2: bad input, 3: inconclusive or measurement invalid.
#
# GitHub Actions:                               GitLab CI:
#   - run: pip install serving-bench              script: [pip install serving-bench, sh gate.sh]
#   - run: sh gate.sh                             artifacts: { when: always, reports: { junit: gate.xml } }
set -eu
cd "$(dirname "$0")"
exec bench gate --run experiment.toml --budget 180 --junit gate.xml --markdown "${GITHUB_STEP_SUMMARY:-gate.md}"
