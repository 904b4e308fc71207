"""Name -> method: the whole plug-in system."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from typing import Any, ClassVar, Protocol, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from schemas.digests import params_digest
from schemas.errors import InvalidParameter, UnknownMethod
from schemas.recipes import MethodRef


class Named(Protocol):
    """Anything a catalog can hold: a class with the name recipes use."""

    name: ClassVar[str]


M = TypeVar("M")  # bound to Named in spirit: mypy takes no Protocol class as type[M]


def catalog(*methods: type[M]) -> dict[str, type[M]]:
    """Index a family's methods by name. Two of one name are an error, not a race.

    Raises:
        ValueError: Two methods share a name.
    """
    table: dict[str, type[M]] = {}
    for method in methods:
        name = cast(Named, method).name
        if name in table:
            raise ValueError(f"{method.__name__} and {table[name].__name__} are both named {name!r}")
        table[name] = method
    return table


def build(methods: Mapping[str, type[M]], ref: MethodRef) -> M:
    """Make the method that `ref` names.

    Raises:
        UnknownMethod: The family has no method of that name.
        InvalidParameter: The method takes no such parameter, or refuses its value.
    """
    if ref.name not in methods:
        raise UnknownMethod(ref.name, known=methods)
    method = methods[ref.name]
    takes = [field.name for field in fields(method)] if is_dataclass(method) else []
    if strangers := sorted(ref.params.keys() - set(takes)):
        raise InvalidParameter(
            f"{ref.name!r} takes no {strangers[0]!r}; it takes {', '.join(takes) or 'nothing'}"
        )
    try:
        return cast(M, _adapter(cast(Any, method)).validate_python(ref.params))
    except (ValidationError, ValueError) as error:
        message = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InvalidParameter(f"{ref.name!r}: {message}") from error


@cache
def _adapter(method: type[Any]) -> TypeAdapter[Any]:
    """Return what checks a method's parameters: making it costs more than a shard of scores may."""
    return TypeAdapter(method)


def method_digest(method: Any) -> str:
    """Return 32 hex digits over a built method's parameters, defaults included: a changed default is noticed."""
    return params_digest(asdict(method))
