"""Names are found in the zoo, and only one way."""

import subprocess
import sys

import pytest

from energylens.errors import InputError, RunError
from energylens.models import find_models, load_model, zoo
from energylens.models.robustbench import import_robustbench
from energylens.models.zoo import resolve, rows


def test_robustbench_rows_are_exactly_the_models_of_robustbench() -> None:
    ours = [(row.dataset, row.threat_model, row.name) for row in rows() if row.source == "robustbench"]
    theirs = [
        (dataset.value, threat_model.value, name)
        for dataset, benchmarks in import_robustbench().all_models.items()
        for threat_model, models in benchmarks.items()
        for name in models
    ]
    assert len(theirs) == 206
    assert ours == theirs


def test_every_robustbench_row_has_its_published_numbers() -> None:
    for row in rows():
        if row.source == "robustbench":
            published = row.corruptions if row.threat_model == "corruptions" else row.autoattack
            assert row.clean and published is not None and row.architecture and row.link, row
            assert (row.eps is None) == (row.threat_model == "corruptions"), row
            assert (row.preprocessing is None) == (row.dataset != "imagenet"), row


def test_shipped_rows_say_what_stands_beside_their_weights() -> None:
    standard, robust = resolve("digits-standard"), resolve("digits-pgd")
    assert (standard.clean, standard.eps, robust.clean, robust.eps) == (99.0, None, 98.4, 0.2)
    assert standard.autoattack is robust.autoattack is None  # what was measured is no AutoAttack


def listing(pattern: str) -> str:
    from click.testing import CliRunner

    from energylens.cli.models import command

    return CliRunner().invoke(command, [pattern], catch_exceptions=False).output


def test_the_listing_shows_corruptions_where_there_are_any() -> None:
    shown = listing("cifar10/*/Standard")
    assert "corruptions" in shown.splitlines()[1] and "73.46" in shown
    assert "corruptions" not in listing("cifar10/linf/*")


def test_the_listing_shows_what_was_measured_of_the_shipped_models() -> None:
    robust = next(line.split() for line in listing("digits*").splitlines() if "digits-pgd" in line)
    assert robust[-4:] == ["Linf", "0.2", "digits-cnn", "98.40"]


def test_labels_are_unique() -> None:
    labels = [row.label.lower() for row in rows()]
    assert len(set(labels)) == len(labels)


def test_every_row_is_reached_by_its_name_and_benchmark() -> None:
    for row in rows():
        assert resolve(row.name, dataset=row.dataset, threat_model=row.threat_model) is row


def test_a_row_holds_the_published_facts() -> None:
    row = resolve("Carmon2019Unlabeled")
    assert (row.dataset, row.threat_model, row.eps) == ("cifar10", "Linf", 8 / 255)
    assert (row.clean, row.autoattack, row.architecture) == (89.69, 59.53, "WideResNet-28-10")
    assert row.extra_data and row.citation == "NeurIPS 2019"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"name": "Carmon2019Unlabeled"}, "cifar10/Linf/Carmon2019Unlabeled"),
        ({"name": "Carmon2019"}, "cifar10/Linf/Carmon2019Unlabeled"),
        ({"name": "carmon2019unlabeled"}, "cifar10/Linf/Carmon2019Unlabeled"),
        ({"name": "Standard"}, "cifar10/Linf/Standard"),  # exact, though Standard_R50 begins with it
        ({"name": "Standard", "threat_model": "corruptions"}, "cifar10/corruptions/Standard"),
        ({"name": "Standard", "dataset": "imagenet"}, "imagenet/Linf/Standard_R50"),
        ({"name": "Rice2020", "dataset": "CIFAR-100"}, "cifar100/Linf/Rice2020Overfitting"),
        ({"name": "Rice2020", "threat_model": "l2"}, "cifar10/L2/Rice2020Overfitting"),
        ({"name": "Hendrycks2020AugMix_WRN", "dataset": "cifar100"}, "cifar100/corruptions/Hendrycks2020AugMix_WRN"),
        ({"name": "Salman2020Do_R18"}, "imagenet/Linf/Salman2020Do_R18"),
        ({"name": "digits-p"}, "digits/Linf/digits-pgd"),
        ({"name": "autoattack"}, "cifar10/autoattack-resnet18"),
    ],
)
def test_a_name_is_resolved(asked: dict[str, str], found: str) -> None:
    assert resolve(**asked).label == found


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"name": "Gowal2020"}, "beginning of 8 names: Gowal2020Uncovering_70_16, "),
        ({"name": "R"}, r"beginning of \d+ names: .*, and \d+ more"),
        (
            {"name": "Carmon2019", "dataset": "imagenet"},
            "not in the zoo for imagenet, but as cifar10/Linf/Carmon2019Unl",
        ),
        ({"name": "Carmon2019Unlabelled"}, "Did you mean Carmon2019Unlabeled.*energylens models"),
        ({"name": "no such thing at all"}, "unknown model 'no such thing at all'. `energylens models` lists them"),
        ({"name": ""}, "unknown model ''"),
    ],
)
def test_a_name_that_means_no_one_model_is_refused(asked: dict[str, str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        resolve(**asked)


def test_listing_takes_a_part_or_a_wildcard_in_any_case() -> None:
    assert len(find_models(None)) == len(rows())
    assert {row.name for row in find_models("DIGITS-PGD")} == {"digits-pgd"}
    assert (
        {row.name for row in find_models("*_r18")} == {row.name for row in rows() if row.name.endswith("_R18")} != set()
    )
    assert {row.threat_model for row in find_models("cifar10/L2/*")} == {"L2"}
    assert find_models("nothing like this") == []


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, energylens.models as m; assert m.find_models('Carmon'); "
        "print([x for x in ('torch', 'numpy', 'pandas', 'robustbench') if x in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_an_installation_without_its_weights_says_what_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    monkeypatch.setattr(zoo, "rows", zoo.rows.__wrapped__)
    with pytest.raises(RunError, match="reinstall energylens"):
        load_model("digits-pgd")
