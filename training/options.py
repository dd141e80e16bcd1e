"""The flags of a command, made from the fields of its settings class.

A field's name, type, default, range and description become the flag's; `Flag` holds what they do not tell:

    name: str                      --name TEXT
    kind: Literal["a", "b"]        --kind [a|b]
    count: int = Field(ge=1)       --count INTEGER RANGE
    fast: bool = False             --fast
    keep: bool = True              --no-keep
    labels: tuple[str, ...]        --labels TEXT, which may be given again
    rename: dict[str, str]         --rename OLD=NEW, which may be given again
    part: PartSettings | None      --part, and the nested fields that its `Flag` names
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import click
from handful.service.terminal.output import RenamedOption
from handful.training.settings import Flag, SourceSettings, TrainSettings
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


def settings_options(settings: type[BaseModel]) -> Decorator:
    """Gives a command a flag for each field of `settings`, and calls it with `settings=`, an instance.

    `click.UsageError` where a value is not allowed.
    """
    fields = dict(sorted(settings.model_fields.items(), key=lambda field: field[0] in SourceSettings.model_fields))

    def decorate(command: Command) -> Command:
        def with_settings(**given: Any) -> Any:
            values = {name: _take_value(name, info, given) for name, info in fields.items()}
            return command(settings=_validated(settings, values), **given)

        decorated: Command = functools.wraps(command)(with_settings)
        options = [option for name, info in fields.items() for option in _options(name, info)]
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def option_of(settings: type[BaseModel], name: str, description: str | None = None) -> Decorator:
    """The flag of one field, for a command that shares it; the command receives the value under the field's name.

    `description` is that of the command, where it allows less.
    """
    info = settings.model_fields[name]
    return next(_options(name, FieldInfo.merge_field_infos(info, description=description) if description else info))


def _validated(settings: type[BaseModel], values: dict[str, Any]) -> BaseModel:
    try:
        return settings.model_validate(values)
    except ValidationError as e:
        first = e.errors()[0]
        raise click.UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from e


def _options(name: str, info: FieldInfo) -> Iterator[Decorator]:
    """The field's own flag, then those of the nested fields that it names."""
    flag, nested = _flag(info), _nested(info)
    if nested is None:
        yield _option(name, name, info, flag, info.default)
        return
    yield click.option(name, flag.name or _long(name), is_flag=True, help=info.description)
    for part, its in flag.fields.items():
        yield _option(f"{name}_{part}", part, nested.model_fields[part], its, None)


def _option(key: str, name: str, info: FieldInfo, flag: Flag, default: Any) -> Decorator:
    """`key` is click's name for the value."""
    text = flag.help or info.description
    if _type(info) is bool:
        return click.option(key, flag.name or _long(f"no_{name}" if default else name), is_flag=True, help=text)
    multiple = get_origin(_type(info)) in (tuple, dict)
    default = None if multiple or info.is_required() else default
    return click.option(
        key,
        flag.name or _long(name),
        *filter(None, [flag.former_name]),
        cls=RenamedOption,
        type=_click_type(info, flag),
        multiple=multiple,
        metavar=flag.metavar,
        required=info.is_required(),
        show_default=default is not None,
        help=text,
        **({} if default is None else {"default": default}),
    )


def _long(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _take_value(name: str, info: FieldInfo, given: dict[str, Any]) -> Any:
    """Takes what click read for a field out of `given`."""
    value = given.pop(name)
    if _nested(info):
        parts = {part: given.pop(f"{name}_{part}") for part in _flag(info).fields}
        chosen = {part: each for part, each in parts.items() if each is not None}
        return chosen if value or chosen else None
    if _type(info) is bool:
        return value != info.default  # the flag stands for the opposite of the default
    return dict(value) if get_origin(_type(info)) is dict else value


def _flag(info: FieldInfo) -> Flag:
    return next((each for each in info.metadata if isinstance(each, Flag)), Flag())


def _type(info: FieldInfo) -> Any:
    """The field's type, without `| None`."""
    if get_origin(info.annotation) not in (Union, UnionType):
        return info.annotation
    [other] = [each for each in get_args(info.annotation) if each is not type(None)]
    return other


def _nested(info: FieldInfo) -> type[BaseModel] | None:
    kind = _type(info)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _click_type(info: FieldInfo, flag: Flag) -> Any:
    kind = _type(info)
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if get_origin(kind) is dict:
        return _pair_type(flag.metavar or "KEY=VALUE")
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    if kind is Path:
        return click.Path(path_type=Path)
    limits = {end: _limit(info, *names) for end, names in (("min", ("ge", "gt")), ("max", ("le", "lt")))}
    if flag.minimum is not None:
        limits["min"] = flag.minimum
    if kind not in (int, float) or set(limits.values()) == {None}:
        return kind
    return (click.IntRange if kind is int else click.FloatRange)(
        **limits, min_open=_limit(info, "gt") is not None, max_open=_limit(info, "lt") is not None
    )


def _limit(info: FieldInfo, *names: str) -> Any:
    limits = [getattr(each, name) for each in info.metadata for name in names if hasattr(each, name)]
    return limits[0] if limits else None


def _pair_type(metavar: str) -> Callable[[str], tuple[str, str]]:
    def pair(text: str) -> tuple[str, str]:
        key, _, value = text.partition("=")
        if not (key and value):
            raise click.BadParameter(f"{text!r} is not {metavar}.")
        return key, value

    return pair


ONE_BACKBONE = "ORG/NAME[@REVISION] on the Hugging Face Hub, a local folder, builtin or builtin-resnet."
backbone_option = option_of(TrainSettings, "backbone", ONE_BACKBONE)
seed_option = option_of(TrainSettings, "seed")


def column_options(command: Command) -> Command:
    """The flags that say which columns of a table are read, for a command without a settings class."""
    for name in reversed(SourceSettings.model_fields):
        command = option_of(SourceSettings, name)(command)
    return command
