"""The run of an upgrade, apart from its verb: a worker that unpickles it imports neither orchestrator nor database."""

from dataclasses import dataclass

from schemas.upgrade import UpgradeRecipe
from tasks.run import Run


@dataclass(frozen=True)
class UpgradeRun(Run):
    """A run that goes over to another encoder; its encoder is the new one."""

    recipe: UpgradeRecipe  # type: ignore[assignment]  # a run of another kind of recipe
