"""Which scores mean a wrong pair, and how many are there? `(N,) scores -> Division`."""

from tasks.catalog import catalog
from tasks.dividers.beta_mixture import BetaMixture
from tasks.dividers.calibrated import Calibrated
from tasks.dividers.contract import Divider
from tasks.dividers.gaussian_mixture import GaussianMixture
from tasks.dividers.self_injected import SelfInjected

DIVIDERS: dict[str, type[Divider]] = catalog(
    BetaMixture,
    Calibrated,
    GaussianMixture,
    SelfInjected,
)
