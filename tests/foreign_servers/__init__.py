"""Real servers of others, each in a venv that `make test-foreign` makes; skipped where there is none."""
