"""What follows from files that never change, kept for whoever asks again."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import lance


class Remembered:
    """What was made by key: the newest so many. Safe to use from several threads.

    Args:
        most: How many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what has this key, made if it has not been. It is shared: nobody may change it."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
        made = make()
        with self._lock:
            self._found[key] = made
            while len(self._found) > self._most:
                self._found.popitem(last=False)
        return made


def files_of(dataset: lance.LanceDataset) -> tuple[object, ...]:
    """Return the files of a table's version, which are written once, under names that nothing else ever has."""
    return tuple(
        (fragment.fragment_id, *(file.path for file in fragment.data_files()), fragment.deletion_file())
        for fragment in dataset.get_fragments()
    )
