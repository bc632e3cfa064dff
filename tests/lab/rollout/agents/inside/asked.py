"""A container's first process, which is asked to end by SIGTERM."""

import signal
import threading


def to_end() -> threading.Event:
    """An event that is set from the signal on."""
    end = threading.Event()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: end.set())
    return end
