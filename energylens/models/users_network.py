"""Networks of the user's own code: a class or a factory, itself or by the address `package.module:name`."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from torch import nn

from energylens.errors import InputError
from energylens.imports import current_directory_importable, object_at
from energylens.models.card import ModelCard

Maker = Callable[..., nn.Module]

#: How a user names a network that we do not have.
OWN_ROAD = "a network of your own: --arch my_models:MyCNN, your class or factory, its arguments by --arch-arg width=32"

_EXPECTED = "a class or function that returns a torch.nn.Module"


def maker_of(arch: str | Maker) -> tuple[Maker, str]:
    """The user's class or factory, and its address.

    Args:
        arch: itself, or its `package.module:name`; the current directory is searched too.

    Returns:
        The callable, and ``package.module:name``.

    Raises:
        InputError: where there is none, or it cannot be called to make a network.

    Example:
        >>> maker_of("torch.nn:Flatten")
        (<class 'torch.nn.modules.flatten.Flatten'>, 'torch.nn:Flatten')
    """
    maker = object_at(arch, _EXPECTED) if isinstance(arch, str) else arch
    if isinstance(maker, nn.Module) or not callable(maker):
        came, more = (arch, "") if isinstance(arch, str) else ("arch", "a name, an address package.module:name, or ")
        raise InputError(f"{came} is a {type(maker).__name__}; expected {more}{_EXPECTED}")
    if isinstance(arch, str):
        return maker, arch
    return maker, f"{getattr(maker, '__module__', '?')}:{getattr(maker, '__qualname__', type(maker).__name__)}"


def make(maker: Maker, arguments: Mapping[str, Any], address: str) -> nn.Module:
    """What the maker returns for these arguments, the current directory on the import path meanwhile.

    Args:
        maker: the user's class or factory.
        arguments: of the call, by name.
        address: of the maker, for errors.

    Returns:
        The network.

    Raises:
        InputError: if the call fails, or the result is no nn.Module.
    """
    called = f"{address}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
    try:
        with current_directory_importable():
            made = maker(**arguments)
    except Exception as error:  # the user's own code: whatever it raises
        said = " ".join(str(error).split())
        raise InputError(
            f"{called} gave {type(error).__name__}: {said}. Expected {_EXPECTED}; arguments come with --arch-arg "
            "name=value (arch_args)"
        ) from error
    if not isinstance(made, nn.Module):
        raise InputError(f"{called} returned a {type(made).__name__}, expected a torch.nn.Module")
    return made


def load_factory(address: str, arguments: Mapping[str, Any]) -> tuple[nn.Module, ModelCard]:
    """The module that a factory of the user's returns, with the weights that it gives it.

    Args:
        address: `package.module:factory`.
        arguments: of the call, by name.

    Returns:
        The module as it came, and its card.

    Raises:
        InputError: where there is no such factory, it fails, or it returns no nn.Module.
    """
    maker, _ = maker_of(address)
    made = make(maker, arguments, address)
    return made, ModelCard(name=address, source="factory", architecture=type(made).__name__, origin=address)


def parse_argument(text: str) -> tuple[str, Any]:
    """`width=32` as a name and a Python value; a bare word is a text.

    Args:
        text: ``NAME=VALUE``.

    Returns:
        Name and value.

    Raises:
        InputError: for what is neither, and for `true`, `false` and `none`, which as texts would all be true.

    Example:
        >>> parse_argument("width=32"), parse_argument("sizes=(3, 5)"), parse_argument("norm=batch")
        (('width', 32), ('sizes', (3, 5)), ('norm', 'batch'))
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not name.isidentifier() or not equals or not value:
        raise InputError(f"--arch-arg {text!r} is not an argument: write name=value, such as width=32")
    with suppress(ValueError, SyntaxError):
        return name, ast.literal_eval(value)
    if value.capitalize() in ("True", "False", "None"):
        raise InputError(f"--arch-arg {text}: write {name}={value.capitalize()}")
    if not value.replace("-", "_").replace(".", "_").replace("/", "_").isidentifier():
        raise InputError(f"--arch-arg {text}: {value!r} is neither a Python literal (32, 0.5, True, (3, 5)) nor a word")
    return name, value
