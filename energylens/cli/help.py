"""Help screens: a command's options in groups, those used most first, each with its range and its default."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click

MOST_USED, OTHER = "Most used", "Other options"
MODEL, DATA, ATTACK, OUTPUT, SPEED = "Model", "Data", "Attack", "Output", "Speed"
#: the order of the groups on the screen; settings name theirs in their declaration
GROUPS = (
    MOST_USED, MODEL, DATA, ATTACK, "Regulariser", "Optimisation", "Evaluation", "Early warning", "Starts", "Chains",
    "Guidance", OUTPUT, SPEED, OTHER,
)  # fmt: skip


class Option(click.Option):
    """An option that knows its group of the help screen, its range and its default.

    Args:
        names: as click takes them.
        help: what it sets, or a function that says so when the help is shown.
        group: the heading that it stands under.
        usual: what is taken where the option is not given, if ``default`` does not say so.
        allowed: the range of its numbers.
        formerly: an earlier spelling, which is still taken and not shown.
        rest: what click takes.
    """

    def __init__(
        self, names: Sequence[str], *, help: str | Callable[[], str] = "", group: str = OTHER, usual: str = "",
        allowed: str = "", formerly: str = "", **rest: Any,
    ) -> None:  # fmt: skip
        super().__init__(names, **rest)
        default = rest.get("default")
        self.group, self._told, self._allowed, self._formerly = group, help, allowed, formerly
        self._usual = usual or ("" if default is None or self.is_flag else str(default))

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser know the earlier spelling too.

        Args:
            parser: click's, of the command.
            ctx: click's context.
        """
        shown = self.opts
        self.opts = [*shown, *filter(None, [self._formerly])]
        super().add_to_parser(parser, ctx)
        self.opts = shown

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option's row of the help screen.

        Args:
            ctx: click's context.

        Returns:
            The option as it is written, and what it sets with its range and default; None for a hidden one.
        """
        self.help = self.described()
        return super().get_help_record(ctx)

    def described(self) -> str:
        """What it sets, its range and its default.

        Returns:
            A sentence with range and default in brackets at its end.
        """
        text = self._told if isinstance(self._told, str) else self._told()
        facts = "; ".join(filter(None, [self._allowed, self._usual and f"default: {self._usual}"]))
        if not facts:
            return text
        return f"{text[:-2]}; {facts}]." if text.endswith("].") else f"{text.removesuffix('.')} [{facts}]."


option = partial(click.option, cls=Option)


class Command(click.Command):
    """A command whose help shows its options in groups and its examples under a heading.

    Args:
        name: as click takes it.
        first: the options that are used most, by their Python names; without any, the help has no groups.
        help: the text, its examples behind a line of a backspace.
        rest: what click takes.
    """

    def __init__(self, name: str | None, *, first: Sequence[str] = (), help: str = "", **rest: Any) -> None:
        text, _, examples = inspect.cleandoc(help).partition("\b\n")
        super().__init__(name, help=text.strip(), **rest)
        self.first, self.examples = first, examples.strip().splitlines()

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the text, then the examples.

        Args:
            ctx: click's context.
            formatter: takes the lines of the help screen.
        """
        super().format_help_text(ctx, formatter)
        if self.examples:
            with formatter.section("Examples" if len(self.examples) > 1 else "Example"):
                formatter.write("".join(f"  {line}\n" for line in self.examples))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, a section a group.

        Args:
            ctx: click's context.
            formatter: takes the lines of the help screen.
        """
        if not self.first:
            super().format_options(ctx, formatter)
            return
        for heading, options in self.grouped(ctx).items():
            with formatter.section(heading):
                formatter.write_dl([record for one in options if (record := one.get_help_record(ctx))])

    def grouped(self, ctx: click.Context) -> dict[str, list[click.Parameter]]:
        """The options that the help shows, by group.

        Args:
            ctx: click's context, which says whether there is a ``--help``.

        Returns:
            The options by the heading that they stand under, in the order of ``GROUPS``; no group is empty.
        """
        shown = [one for one in self.get_params(ctx) if isinstance(one, click.Option) and not one.hidden]
        most_used = [next(one for one in shown if one.name == name) for name in self.first]
        groups: dict[str, list[click.Parameter]] = {heading: [] for heading in GROUPS} | {MOST_USED: [*most_used]}
        for one in shown:
            if one not in most_used:
                groups[getattr(one, "group", OTHER)].append(one)
        return {heading: options for heading, options in groups.items() if options}
