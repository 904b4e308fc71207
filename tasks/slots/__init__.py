"""Words of a query that name values of columns become predicates beside the vector search.

After the query understanding of FindVehicle (Guan et al. 2024, https://doi.org/10.1007/s11042-023-16373-y), where typed
attributes are read out of a sentence before anything is compared. Departs: names come from the tables themselves and are
matched, not tagged by a trained network; what is read narrows the search in SQL; and whoever asks sees it and can take
it away.
"""

from tasks.slots.narrow import Narrowed, narrowed
from tasks.slots.read import AUTO, Kinds, Slot, Understood, understood

__all__ = ["AUTO", "Kinds", "Narrowed", "Slot", "Understood", "narrowed", "understood"]
