"""Fresh heads from a seed, whatever else draws from torch's generator at the time."""

import threading
from typing import TYPE_CHECKING

from tasks.heads.contract import Head

if TYPE_CHECKING:
    from torch import nn

_BUILDING = threading.Lock()  # torch's generator is one per process; trainings may run in several threads


def build_seeded(head: Head, dim_in: int, *, seed: int) -> "nn.Module":
    """Return a fresh module; torch's own generator is left as it was."""
    import torch

    with _BUILDING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return head.build(dim_in)
