"""What shape is the space of media and texts? `(N, D), (M, D) -> numbers by name`."""

from tasks.catalog import catalog
from tasks.diagnostics.alignment import Alignment
from tasks.diagnostics.contract import Diagnostic
from tasks.diagnostics.degeneration import Degeneration
from tasks.diagnostics.hubness import Hubness
from tasks.diagnostics.modality_gap import ModalityGap
from tasks.diagnostics.uniformity import Uniformity

DIAGNOSTICS: dict[str, type[Diagnostic]] = catalog(
    Alignment,
    Degeneration,
    Hubness,
    ModalityGap,
    Uniformity,
)
