"""What pytest does with the project's own marks."""


def pytest_configure(config):
    config.addinivalue_line("markers", "perf: bound to a clock, so out of `make test`; `make test-perf` runs it on a machine that does nothing else")
