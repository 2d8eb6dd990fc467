"""What this package was built as; CMake writes it (python/built_with.py.in)."""

VERSION: str
TORCH: str
