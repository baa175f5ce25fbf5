"""The meeting point of the load with Locust's master and workers.

Messages, on Locust's own connection between worker and master:

- `bench-hello` (worker: what it is, its clock) is answered by `bench-origin` (master: its clock, the start of the run,
  first also the idle server's answers); half of the round trip bounds the error of the clock offset so found.
- `bench-chunk`: a quarter second of one worker's records, as bytes.
- `bench-users` (worker: its open-loop users) is answered, some time later and to all workers, by `bench-plan`:
  which arrivals are whose, from when on and until when (see `bench.load.engine.user_plan`).
- `bench-telemetry`: what a worker observed of itself in a second.
- `bench-drain` asks a worker to send nothing more, to wait for its last answers and to flush; the worker
  says `bench-drained` with its counts, after its last chunk (the connection keeps the order). `bench-hurry` ends that wait.
- `bench-refused`: one that cannot take part, and why.
"""
