"""What is trained on frozen vectors? `(N, D) -> (N, K)`."""

from tasks.catalog import catalog
from tasks.heads.contract import Head
from tasks.heads.linear import Linear
from tasks.heads.mlp import MLP

HEADS: dict[str, type[Head]] = catalog(
    Linear,
    MLP,
)
