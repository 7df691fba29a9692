"""Which tests are run for a fault, and the faults of ``table.txt``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .faults import Fault
from .running import CHECKOUT

_T = "tests/training"
#: all that may notice a fault in the trainer; the training of the shipped diffusion models has tests of its own
FILES = [
    *sorted(
        str(path.relative_to(CHECKOUT))
        for path in (CHECKOUT / _T).glob("test_*.py")
        if path.name != "test_digits_ddpm.py"
    ),
    *(f"energylens/training/{name}.py" for name in ("der", "linearity", "methods", "watch")),  # their examples
]

#: for faults in these files, the tests that are likely to notice
FIRST = {
    f"{folder}.py": [f"{_T}/test_{name}.py" for name in names]
    for folder, names in {
        "attacks/registry": ("literal_constants", "literal_draws", "methods"),
        "training/attacker": ("training_attack", "loop"),
        "training/augmentation": ("selection", "schedules"),
        "training/average": ("course", "on_a_gpu", "extension"),
        "training/awp": ("regularizers", "literal_steps"),
        "training/checkpoint": ("course",),
        "training/data": ("selection", "omission", "judging"),
        "training/der": ("regularizers", "literal_steps"),
        "training/evaluation": ("judging", "literal_constants", "final", "on_a_gpu"),
        "training/final": ("final",),
        "training/folder": ("extension", "loop"),
        "training/history": ("course",),
        "training/initial": ("extension",),
        "training/linearity": ("regularizers", "literal_steps"),
        "training/loop": ("course", "judging", "literal_steps", "on_a_gpu", "final", "loop"),
        "training/methods": ("settings", "methods", "literal_draws", "literal_steps"),
        "training/omission": ("omission",),
        "training/optimizers": ("schedules",),
        "training/recipes": ("settings", "extension"),
        "training/regularizers": ("regularizers", "literal_constants", "literal_steps"),
        "training/run": ("course", "loop", "extension"),
        "training/schedules": ("schedules", "course", "settings"),
        "training/settings": ("settings", "training_attack", "regularizers", "omission"),
        "training/step": ("training_attack", "methods", "literal_steps"),
        "training/watch": ("watch",),
    }.items()
}

#: more than a second each, for what a quicker one tells too: processes started anew, the command line, full disks
SLOW = frozenset(
    {
        "test_two_processes_train_together",
        "test_a_second_process_on_the_same_run_is_told_to_wait_and_a_killed_one_holds_nothing",
        "test_the_command_extends_says_the_schedule_and_prints_settings_only_when_asked",
        "test_without_a_schedule_the_longer_run_is_the_run_of_so_many_epochs[0.0]",
        "test_a_network_of_some_classes_is_profiled_on_them_alone",
        "test_the_command_trains_and_says_where_to_go_on",
        "test_a_full_disk_is_told_in_a_line_and_costs_one_epoch[300000]",
        "test_a_full_disk_is_told_in_a_line_and_costs_one_epoch[100000]",
        "test_with_one_it_goes_on_as_that_of_the_longer_run_and_says_so[cyclic]",
        "test_with_one_it_goes_on_as_that_of_the_longer_run_and_says_so[cosine]",
        "test_the_command_takes_the_rule_and_says_what_it_needs",
    }
)


def read_table(text: str) -> Iterator[Fault]:
    """The faults of a table; its own first lines say how it is written."""
    module = ""
    for block in text.split("\n\n"):
        lines = block.strip("\n").split("\n")
        if lines[0].startswith("== "):
            module = lines[0].removeprefix("== ")
        elif module:
            breaks, _, kind = lines[0].removesuffix(")").rpartition(" (")
            before, after = ("\n".join(line[2:] for line in lines[1:] if line[0] == sign) for sign in "-+")
            yield Fault(module, before, after, kind, breaks)


FAULTS = list(read_table(Path(__file__).with_name("table.txt").read_text()))

#: who is not caught, and why
SURVIVORS: dict[str, str] = {
    "training/loop:WITHIN: 1.0 is 1.5": "seconds between two words on the screen; no result depends on them",
    "training/loop:JUDGING: 30.0 is 45": "seconds between two words on the screen; no result depends on them",
    "training/data:BATCH: 250 is 251": "equivalent: every sample has noise of its own, whatever its batch",
    "training/omission:BATCH: 500 is 501": "equivalent: images looked at together",
    "training/data:CHUNK: 1000 is 1001": "equivalent: images made uint8 together",
}
