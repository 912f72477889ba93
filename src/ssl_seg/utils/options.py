"""The options of a component: the keyword-only parameters of its factory, as a user writes them."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from ssl_seg.errors import PluginError, UsageError, did_you_mean
from ssl_seg.utils.code_names import unknown
from ssl_seg.utils.entry_points import short_error
from ssl_seg.utils.foreign import owner_of, wrong

Factory = Callable[..., Any]


class Paper(Protocol):
    """See `ssl_seg.base.PaperRecipe`."""

    options: Mapping[str, Any]
    recipe: Mapping[str, Any]


def factory_options(factory: Factory) -> dict[str, inspect.Parameter]:
    """The user's options of a factory: its keyword-only parameters.

    Raises:
        PluginError: its signature cannot be read.
    """
    try:
        parameters = inspect.signature(factory, eval_str=True).parameters.values()
    except Exception as error:  # an annotation as text may name anything
        whose = owner_of(factory) or "ssl-seg"
        raise PluginError(
            f"the options of {factory!r} of {whose} cannot be read: {short_error(error)}"
        ) from error
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}


def check_options(factory: Factory, what: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Turn texts into values by the annotations of the factory's keyword-only parameters.

    `none` is None where the annotation allows it; several numbers are written `0.2,1.0`. Of a method, `recipe=paper`
    stands for the options that its paper has, which the others hold over.

    Raises:
        UsageError: an option it does not have, or a value its annotation does not allow; see `unknown`.
        PluginError: its paper's options are none of it.
    """
    paper = paper_in(factory, what, options)
    rest = (
        {key: value for key, value in options.items() if key != "recipe"} if _has_recipe(factory) else options
    )
    typed = _checked(factory, what, rest)
    try:
        return {**_checked(factory, what, paper.options if paper else {}), **typed}
    except UsageError as error:
        raise wrong(factory, f"the paper's options: {error.what}") from error


def paper_in(factory: Factory, what: str, options: Mapping[str, Any]) -> Paper | None:
    """What `recipe=paper` among the options of a method stands for; None where it is not among them.

    Raises:
        UsageError: there is no such recipe.
        PluginError: the method's `paper` is something else.
    """
    name = options.get("recipe", "default")
    if name == "default" or not _has_recipe(factory):
        return None
    paper: Paper | None = getattr(factory, "paper", None)
    if name != "paper" or paper is None:
        known = ("default", *(("paper",) if paper else ()))
        way = f"-o ssl.recipe={' or '.join(known)}"
        raise UsageError(f"{what} has no recipe {name!r}{did_you_mean(str(name), known)}", next=way)
    if not all(isinstance(getattr(paper, part, None), Mapping) for part in ("options", "recipe")):
        raise wrong(factory, "its `paper` is no PaperRecipe")
    return paper


def _has_recipe(factory: Factory) -> bool:
    """Whether `recipe` among its options chooses one: it is a method, and has no option of that name itself."""
    return hasattr(factory, "recipe") and "recipe" not in factory_options(factory)


def _checked(factory: Factory, what: str, options: Mapping[str, Any]) -> dict[str, Any]:
    known = factory_options(factory)
    values: dict[str, Any] = {}
    for key, value in options.items():
        if key not in known:
            raise unknown(
                key,
                f"{what} has no option {key!r}{did_you_mean(key, known)}",
                next=f"options: {', '.join(known) or 'none'}",
            )
        annotation = known[key].annotation
        if annotation is inspect.Parameter.empty:
            annotation = type(known[key].default)
        try:
            values[key] = _read(annotation, value)
        except ValueError as error:
            raise unknown(key, f"option {key!r} of {what}: {error}, got {value!r}") from error
    return values


def _read(annotation: Any, value: Any) -> Any:
    """A value of the type `annotation`: as it stands, as None, or as a list of numbers or words.

    Raises:
        ValueError: it is none of these; the text says what was expected.
    """
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError

    try:
        adapter = TypeAdapter(annotation)
    except PydanticUserError as error:
        raise ValueError(f"a {inspect.formatannotation(annotation)} cannot be written as text") from error
    if isinstance(value, str) and value.lower() == "none":
        with suppress(ValidationError):
            return adapter.validate_python(None)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        if isinstance(value, str):
            with suppress(ValidationError):
                return adapter.validate_json(value if value.startswith("[") else f"[{value}]")
        raise ValueError(error.errors()[0]["msg"].lower()) from error


def resolved_options(factory: Factory, options: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of a factory with the value that holds, default or not, as numbers and texts.

    A value that TOML cannot hold is written as Python would print it; None as `none`.
    """
    defaults = {name: p.default for name, p in factory_options(factory).items() if p.default is not p.empty}
    return {name: _plain(value) for name, value in {**defaults, **options}.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | float | str):
        return value
    return "none" if value is None else str(value)
