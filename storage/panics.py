"""Lance panics on some damaged files, and its panics pass every `except Exception`."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def as_errors() -> Iterator[None]:
    """Raise a panic of a library written in Rust as an OSError."""
    try:
        yield
    except BaseException as error:
        if type(error).__module__ == "pyo3_runtime":
            raise OSError(f"Lance panicked: {error}") from error
        raise
