"""The spaces that similarities are tried on."""

from tests.tasks.similarities.conftest import hubby, space

__all__ = ["hubby", "space"]
