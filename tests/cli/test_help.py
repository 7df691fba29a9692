"""Help screens: options in groups, what is used most first, examples that run, ranges and defaults as declared."""

import re
import shlex
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from energylens.cli import COMMANDS, GROUPS, root
from energylens.cli import help as screens
from energylens.cli.options import settings_options
from energylens.generation.settings import GenerationSettings
from energylens.settings import declared
from energylens.training.recipes import settings_of
from energylens.training.settings import TrainSettings

each_command = pytest.mark.parametrize("name", COMMANDS)


def context_of(name):
    command = root.get_command(click.Context(root), name)
    return click.Context(command, info_name=name, parent=click.Context(root, info_name="energylens"))


def help_of(name):
    context = context_of(name)
    context.max_content_width = context.terminal_width = 200
    return context.command.get_help(context)


def sections(text):
    """The lines of a help screen by their heading."""
    found, heading = {}, ""
    for line in text.splitlines():
        if match := re.fullmatch(r"(\S.*):", line):
            heading = match[1]
        elif line.strip():
            found.setdefault(heading, []).append(line)
    return found


@each_command
def test_every_option_stands_in_one_group(name):
    context = context_of(name)
    shown = [one for one in context.command.params if isinstance(one, click.Option) and not one.hidden]
    groups = context.command.grouped(context)
    assert list(groups) == [heading for heading in screens.GROUPS if heading in groups]
    listed = [one.name for options in groups.values() for one in options if "--help" not in one.opts]
    assert sorted(listed) == sorted(one.name for one in shown)
    lines = [line.strip().replace(",", " ").split() for line in help_of(name).splitlines()]
    for one in shown:
        begun = [words for words in lines if words[:1] in ([one.opts[0]], [one.opts[-1]])]
        assert len(begun) == 1, one.name


@each_command
def test_a_long_help_begins_with_the_five_options_that_are_used_most(name):
    context = context_of(name)
    first = [one.name for one in context.command.grouped(context).get(screens.MOST_USED, [])]
    assert first == list(context.command.first)
    assert len(first) == (5 if len(context.command.params) > 6 else 0)


@each_command
def test_every_command_has_an_example_that_it_takes(name):
    examples = context_of(name).command.examples
    assert examples and all(f"  {line}" in help_of(name).splitlines() for line in examples)
    own = [shlex.split(line, comments=True) for line in examples]
    assert any(words[1] == name for words in own)
    for _, other, *words in own:
        words = words[: words.index(">")] if ">" in words else words
        context = context_of(other)
        context.command.make_parser(context).parse_args(words)


@pytest.mark.parametrize(("name", "kind"), [("train", TrainSettings), ("generate", GenerationSettings)])
def test_the_range_and_the_default_of_every_setting_are_shown(name, kind):
    """Of ``train`` the defaults that a run without options has, read off the settings of such a run."""
    usual = settings_of() if name == "train" else GenerationSettings()
    options = {one.name: one for one in context_of(name).command.params}
    for one in declared(kind):
        text = options[one.name].get_help_record(context_of(name))[1]
        facts = text.rpartition("[")[2]
        if one.numeric:
            assert (f"above {one.above:g}" if one.above is not None else f"{one.least:g} ") in facts, one.name
        if one.default not in (None, ()) and one.name not in ("der_on", "der_mean"):
            assert f"default: {one.written(getattr(usual, one.name))}" in facts, one.name
        assert options[one.name].group == one.group != ""


def test_a_setting_stands_under_the_heading_above_it():
    groups = {one.name: one.group for one in declared(TrainSettings)}
    assert (groups["dataset"], groups["augment"], groups["arch"]) == ("Data", "Data", "Model")
    assert set(groups.values()) <= set(screens.GROUPS)


def test_a_fact_joins_those_that_the_text_tells():
    told = {"group": screens.OTHER, "default": 3, "allowed": "1 or more"}
    facts = {text: screens.Option(["--n"], help=text, **told).described() for text in ("So many.", "So many [R].")}
    assert list(facts.values()) == ["So many [1 or more; default: 3].", "So many [R; 1 or more; default: 3]."]


def test_an_earlier_spelling_is_taken_and_not_shown():
    seen = []
    command = click.command()(screens.option("--new", formerly="--old", help="What.")(lambda new: seen.append(new)))
    assert "--old" not in CliRunner().invoke(command, ["--help"]).output
    for spelling in ("--old", "--new"):
        CliRunner().invoke(command, [spelling, "1"], catch_exceptions=False)
    assert seen == ["1", "1"]


def test_options_of_settings_also_serve_a_plain_command():
    command = settings_options(GenerationSettings)(click.command()(lambda **own: None))
    assert "--spread S" in CliRunner().invoke(command, ["--help"]).output


def test_the_commands_are_listed_by_what_they_are_for(run):
    _, out, _ = run("--help")
    lines = sections(out)
    for heading, names in GROUPS.items():
        assert [line.split()[0] for line in lines[heading] if not line.startswith(" " * 8)] == list(names)
    assert "..." not in out.partition("Look at a model:")[2]


def test_no_help_needs_torch_or_pandas():
    code = (
        "import sys; from energylens.cli import COMMANDS, root\n"
        "for words in ([], *([name] for name in COMMANDS)):\n"
        "    root.main([*words, '--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'torchvision', 'robustbench', 'matplotlib', 'seaborn', 'pandas', 'pyarrow', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_what_is_typed(shell):
    done = CliRunner().invoke(root, [], prog_name="energylens", env={"_ENERGYLENS_COMPLETE": f"{shell}_source"})
    assert done.exit_code == 0 and "_ENERGYLENS_COMPLETE" in done.output and "Usage" not in done.output
    word = {"COMP_CWORD": "tra" if shell == "fish" else "1", "COMP_WORDS": "energylens tra"}
    typed = {"_ENERGYLENS_COMPLETE": f"{shell}_complete", **word}
    offered = CliRunner().invoke(root, [], prog_name="energylens", env=typed).output
    assert "train" in offered and "trajectory" in offered and "profile" not in offered
