"""What pytest does with the project's own marks, and where it finds the package linformer_cpp of the build."""

import os
import sys

sys.path.insert(0, os.path.join(os.environ["LINFORMER_BINARY_DIR"], "python"))


def pytest_configure(config):
    config.addinivalue_line("markers", "perf: bound to a clock, so out of `make test`; `make test-perf` runs it on a machine that does nothing else")
