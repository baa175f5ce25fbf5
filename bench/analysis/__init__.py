"""Run folders to answers; opens no socket."""
