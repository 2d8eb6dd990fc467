"""Waiting for something that another process does. Every wait has a deadline: a program that hangs fails its test, and not the whole run."""

import time


def wait_until(condition, seconds=60, pause=0.002):
    """What `condition()` returns once that is true; it is asked every `pause` seconds, and the test fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not true within {seconds} s: {condition.__qualname__}"
        time.sleep(pause)
