"""Every error raised on purpose.

XmodalError
├── RecipeError              a recipe or a parameter is wrong
│   ├── UnknownMethod
│   └── InvalidParameter
├── DataError                rows that cannot be computed on
├── BadInput                 one input that goes to quarantine; carries a `reason`
├── SourceError              a whole source cannot be listed
├── CorpusError              a corpus cannot be fetched or fails its check
├── EncoderError             weights are missing, changed or do not fit the table
├── SqlError                 a statement is wrong, or went over a limit
│   └── SqlRefused           it asks for what statements here may not do
├── ServiceError             a process that serves does not start, or cannot be reached
└── LakeError                the lake cannot do what was asked
    ├── NoSuchTable
    ├── NoSuchSnapshot
    ├── LakeBusy
    │   └── Overtaken        the run lost the lake to another one; running it again starts from there
    └── LakeDamaged          files of the lake are missing or are not what was written
"""

from collections.abc import Iterable
from difflib import get_close_matches

# Why an input was refused. One word per cause, used in `quarantine.reason` and by `xmodal quarantine`.
REASONS: dict[str, str] = {
    "empty-file": "The file has no bytes.",
    "corrupt": "The decoder refused the bytes.",
    "truncated": "The file ends before its content does.",
    "mislabelled": "The name promises a medium and the bytes are something else.",
    "unsupported-type": "No decoder of ours reads this type.",
    "password-protected": "The content is encrypted.",
    "too-many-pixels": "Width x height exceeds the limit; seen in the header, never decoded.",
    "too-many-bytes": "The file exceeds the byte limit.",
    "decode-timeout": "Decoding took longer than the limit; the decoder was killed.",
    "decode-memory": "Decoding needed more memory than the limit.",
    "decoder-crashed": "The decoder process died.",
    "outside-root": "A path or link leads out of the source's root.",
    "not-a-file": "A device, socket or pipe stands where a file was expected.",
    "missing-file": "The named file does not exist.",
    "unreadable": "The file exists and cannot be read.",
    "missing-text": "The row has no text.",
    "bad-encoding": "The text is not valid UTF-8.",
    "nul-bytes": "The text contains NUL bytes.",
    "text-too-long": "The text exceeds the length limit.",
    "bad-row": "The manifest row cannot be parsed.",
    "bad-archive": "The archive cannot be read from here on.",
    "unsafe-svg": "The drawing refers to something outside itself.",
    "bad-url": "The address is not a plain http(s) URL.",
    "blocked-address": "The URL resolves to a private, loopback or link-local address.",
    "wrong-content-type": "The server declared a type we do not take.",
    "download-failed": "The server did not deliver the file after all retries.",
}


class XmodalError(Exception):
    """Base of every error raised on purpose."""


class RecipeError(XmodalError):
    """A recipe cannot be run as written."""


class UnknownMethod(RecipeError):
    """No method of the family has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"No method is called {name!r}.{hint} Known: {', '.join(names)}.")


class InvalidParameter(RecipeError):
    """A method does not take this parameter or this value."""


class DataError(XmodalError):
    """Rows lack something the computation needs."""


class BadInput(XmodalError):
    """One input that cannot be taken. It ends as one row in quarantine and the run goes on.

    Args:
        reason: A key of `REASONS`.
        message: What was found, for a person.
        error_class: Name of the underlying exception's class; the reason's own when there is none.
        digest: SHA-256 hex of the bytes, where they could be read.
    """

    def __init__(
        self, reason: str, message: str, *, error_class: str = "", digest: str | None = None
    ) -> None:
        if reason not in REASONS:
            raise ValueError(f"{reason!r} is not a quarantine reason; known: {', '.join(REASONS)}")
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.error_class = error_class or "BadInput"
        self.digest = digest

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling between processes, keyword arguments included."""
        return (_rebuild_bad_input, (self.reason, self.message, self.error_class, self.digest))


def _rebuild_bad_input(reason: str, message: str, error_class: str, digest: str | None) -> BadInput:
    return BadInput(reason, message, error_class=error_class, digest=digest)


class SourceError(XmodalError):
    """A source cannot be opened or listed at all."""


class CorpusError(XmodalError):
    """A corpus cannot be fetched, or what was fetched fails its check."""


class EncoderError(XmodalError):
    """An encoder's weights are missing, changed, or do not fit the table."""


class SqlError(XmodalError):
    """A statement is wrong, or went over a limit."""


class SqlRefused(SqlError):
    """A statement asks for what statements here may not do: write, attach, read files or the environment ..."""


class ServiceError(XmodalError):
    """A process that serves (Prefect, a worker, the dashboard) does not start, or cannot be reached."""


class LakeError(XmodalError):
    """The lake cannot do what was asked."""


class NoSuchTable(LakeError):
    """The lake has no such table at this snapshot."""


class NoSuchSnapshot(LakeError):
    """No snapshot or tag has this name."""


class LakeBusy(LakeError):
    """Another process is writing to the lake."""


class Overtaken(LakeBusy):
    """Another process has written to the lake since this one began; what this one did must be done anew."""


class LakeDamaged(LakeError):
    """Files of the lake are missing, cut short or changed."""
