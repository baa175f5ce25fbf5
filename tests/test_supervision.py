"""bench.supervisor: how programs end with the one that started them."""

import signal
import subprocess
import sys

import pytest

from bench import supervisor


@pytest.mark.parametrize(("grace", "first"), [(0.0, signal.SIGKILL), (60.0, signal.SIGTERM)])
def test_only_a_program_with_a_grace_time_is_told_to_end(
    grace: float, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one it is killed at once: told before, it might end in order where the machine is busy."""
    sent: list[int] = []
    send = supervisor._send
    monkeypatch.setattr(
        supervisor, "_send", lambda group, number: (sent.append(number), send(group, number))[1]
    )
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(command, start_new_session=True) as child:
        supervisor._end(child, grace)
    assert sent[0] == first
    assert child.returncode == -first
