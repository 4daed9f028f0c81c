"""The options of ``subspace run``, made of what the records say of their fields.

None means not given: the library then takes the default of the method, model and dataset, or on
resuming the run's own value.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from subspace.methods import Method
    from subspace.options import Field

Json = Annotated[
    bool,
    typer.Option("--json", help="Print the result as one line of JSON; other text to stderr."),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run.")]
DataDirNow = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="TFDS directory that holds the dataset now.", show_default="the run's"
    ),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="TFDS directory that holds the datasets.")
]
Augment = Annotated[
    bool | None,
    typer.Option("--augment/--no-augment", help="Random crops, and flips or brightness."),
]

Declared = dict["type[Method]", "Field"]
"""A field by the methods that have it; a field of the run by none."""


def takes_a_run(*without: str, described: bool = False) -> Callable[[Callable[..., None]], Any]:
    """Adds to a command METHOD and the options of a run and its first phase, but for some.

    The command receives those that were given as ``given``, by the names of the library.

    Args:
        without: names of options that the command does without, or has itself.
        described: only those that say what a run learns from, and not how it is made or kept.
    """

    def complete(command: Callable[..., None]) -> Callable[..., None]:
        fields = {
            name: declared
            for name, declared in declared_fields().items()
            if name not in without and (not described or _describes(name, declared))
        }
        shared = [_method(), *([] if "preset" in without else [_preset()])]
        shared += [_parameter(name, declared) for name, declared in fields.items()]

        def whole(**values: Any) -> None:
            given = {one.name: values.pop(one.name) for one in shared}
            command(given=_read(given, fields), **values)

        return _with_signature(whole, command, [*shared, *_own(command)])

    def add(command: Callable[..., None]) -> Callable[..., None]:
        """A stand-in with the command's own options; the others need the library, to be imported
        when the command is asked for and not for ``subspace --help``."""
        stand_in = _with_signature(lambda **values: None, command, _own(command))
        setattr(stand_in, COMPLETE, lambda: complete(command))
        return stand_in

    return add


def whole(help: str, **about: Any) -> Any:
    """An option of a command's own, for a whole number in decimal digits."""
    return typer.Option(parser=_whole, metavar="INTEGER", help=help, **about)


def real(help: str, **about: Any) -> Any:
    """An option of a command's own, for a finite number."""
    return typer.Option(parser=_real, metavar="NUMBER", help=help, **about)


def _whole(text: Any) -> Any:
    from subspace.options import whole_number

    return _number(text, whole_number, "a whole number")


def _real(text: Any) -> Any:
    from subspace.options import number

    return _number(text, number, "a number")


def _number(text: Any, read: Callable[[str], Any], what: str) -> Any:
    try:
        return read(str(text))
    except ValueError:
        raise typer.BadParameter(f"can't read {str(text)!r}; give {what}") from None


COMPLETE = "complete"
"""The attribute of a stand-in that makes the whole command."""


def _own(command: Callable[..., None]) -> list[inspect.Parameter]:
    hints = get_type_hints(command, include_extras=True)
    found = inspect.signature(command).parameters.values()
    kind = inspect.Parameter.KEYWORD_ONLY
    typed = (one.replace(annotation=hints.get(one.name, Any), kind=kind) for one in found)
    return [one for one in typed if one.name != "given"]


def _with_signature(
    function: Callable[..., None], like: Callable[..., None], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    function.__signature__ = inspect.Signature(parameters)  # pyright: ignore
    function.__annotations__ = {one.name: one.annotation for one in parameters}
    function.__name__, function.__doc__ = like.__name__, like.__doc__
    return function


def _read(given: Mapping[str, Any], fields: Mapping[str, Declared]) -> dict[str, Any]:
    """The values that texts mean: to the method, if it has the field, else to the first that has.

    Raises:
        InvalidInput: a text means none.
    """
    from subspace.methods import METHODS
    from subspace.options import read

    method = METHODS.get(given["method"] or "")
    found = {name: value for name, value in given.items() if value is not None}
    for name, text in found.items():
        if name in fields and isinstance(text, str):
            declared = fields[name]
            if method is None or not declared:
                found[name] = read(field_of(name, declared), text)
            elif method in declared:  # else the text stays, for the library to say so
                found[name] = read(declared[method], text)
    return found


def declared_fields() -> dict[str, Declared]:
    """Every field of a run and of its methods' phases, by name."""
    from subspace.config.phase import fields_of_phase
    from subspace.config.run import RunConfig
    from subspace.methods import METHODS
    from subspace.options import fields_of

    found: dict[str, Declared] = {name: {} for name in fields_of(RunConfig)}
    for method in METHODS.values():
        for name, field in fields_of_phase(method).items():
            found.setdefault(name, {})[method] = field
    return found


def _describes(name: str, declared: Declared) -> bool:
    return field_of(name, declared).option.describes


def field_of(name: str, declared: Declared) -> Field:
    """The field of that name, of the first method that has it, or of the run."""
    from subspace.config.run import RunConfig
    from subspace.options import fields_of

    return next(iter(declared.values()), None) or fields_of(RunConfig)[name]


def _parameter(name: str, declared: Declared) -> inspect.Parameter:
    field = field_of(name, declared)
    about: dict[str, Any] = {"help": help_of(name, declared)}
    about["rich_help_panel"] = field.option.panel
    if field.is_switch:
        option = typer.Option(f"{field.flag}/{field.off}", **about)
        return _keyword(name, Annotated[bool | None, option])
    fields = list(declared.values()) or [field]
    option = typer.Option(field.flag, metavar=_metavar(fields), **about)
    return _keyword(name, Annotated[str | None, option])


def _metavar(fields: list[Field]) -> str:
    kinds = {kind for field in fields for kind in field.kinds}
    if any(field.is_number for field in fields):
        return "INTEGER" if all(field.is_whole for field in fields) else "NUMBER"
    return "N,..." if tuple in kinds else "TEXT"


def help_of(name: str, declared: Mapping[Any, Field]) -> str:
    """What a field is, of which methods, and its default of each."""
    from subspace.methods import METHODS

    if not declared:
        field = field_of(name, {})
        return f"{field.option.help} {_choices(field)}Default: {_shown(field, field.default)}."
    texts: dict[str, list[Any]] = {}
    for method, field in declared.items():
        texts.setdefault(f"{field.option.help} {_choices(field)}".strip(), []).append(method)
    everywhere = len(declared) == len(METHODS)
    said = []
    for text, methods in texts.items():
        names = ", ".join(method.name for method in methods)
        said.append(text if everywhere else f"{text.rstrip('.')} ({names}).")
    return f"{' '.join(said)} Default: {_defaults(name, declared)}."


def _choices(field: Field) -> str:
    choices = field.option.choices
    if choices is None or callable(choices) or len(field.kinds) > 2:
        return ""
    listed = ", ".join(choices)
    return "" if all(choice in field.option.help for choice in choices) else f"One of: {listed}. "


def _defaults(name: str, declared: Mapping[Any, Field]) -> str:
    """The commonest default, and that of the methods that have another."""
    from subspace.config.phase import default_of

    groups: dict[str, list[str]] = {}
    for method, field in declared.items():
        own = method.defaults.get(name)
        text = _shown(field, default_of(method, name)) if own is None else _text(own)
        groups.setdefault(text, []).append(method.name)
    usual = max(groups, key=lambda text: len(groups[text]))
    others = [f"{', '.join(names)} {text}" for text, names in groups.items() if text != usual]
    return "; ".join([usual, *others])


def _shown(field: Field, default: Any) -> str:
    return field.option.shown or _text(default)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _method() -> inspect.Parameter:
    from subspace.methods import METHODS

    argument = typer.Argument(
        metavar="METHOD", help=f"{', '.join(METHODS)}; see `subspace list methods`."
    )
    return _keyword("method", Annotated[str | None, argument])


def _preset() -> inspect.Parameter:
    from subspace.methods import METHODS

    listed = [
        f"{name} is {' '.join(_words(method, fields))} ({method.name})"
        for method in METHODS.values()
        for name, fields in method.presets.items()
    ]
    help = f"Settings that go well together: {'; '.join(listed)}. Default: none."
    option = typer.Option("--preset", help=help, rich_help_panel="Subspace")
    return _keyword("preset", Annotated[str | None, option])


def _words(method: type[Method], fields: Mapping[str, Any]) -> Iterable[str]:
    from subspace.config.phase import fields_of_phase

    known = fields_of_phase(method)
    for name, value in fields.items():
        yield known[name].flag if value is True else f"{known[name].flag} {_text(value)}"


def _keyword(name: str, annotation: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=None, annotation=annotation)
