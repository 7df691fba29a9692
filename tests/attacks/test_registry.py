"""Names and settings of attacks, and what is refused."""

import pytest

from energylens.attacks.battery import configure, configure_battery
from energylens.attacks.radius import parse_radius, write_radius
from energylens.attacks.registry import ATTACKS
from energylens.attacks.spec import with_version
from energylens.errors import InputError


def test_settings_in_the_name_go_before_the_batterys():
    attack = configure("pgd,steps=50,eps=4/255,step_size=1/255", eps="8/255", steps=10)
    assert (attack.settings.steps, attack.settings.eps, attack.settings.step) == (50, 4 / 255, 1 / 255)
    assert attack.eps_text == "4/255"
    assert attack.name == "pgd,steps=50,eps=4/255,step_size=1/255"


def test_the_papers_step_follows_from_eps():
    assert configure("pgd", eps="8/255").settings.step == pytest.approx(2 / 255)
    assert configure("rs-fgsm", eps="8/255").settings.step == pytest.approx(10 / 255)


def test_steps_are_for_attacks_that_iterate():
    steps = {row.name: configure(row.name, eps=0.1, steps=7).settings.steps for row in ATTACKS}
    assert {name for name, count in steps.items() if count == 1} == {"fgsm", "rs-fgsm", "n-fgsm"}
    assert {name for name, count in steps.items() if count == 7} >= {"pgd", "trades", "he-pgd", "cw", "apgd-ce", "fab"}
    assert steps["autoattack"] == 100  # an ensemble of that name is that ensemble


def test_versions_are_rows():
    plus = configure("autoattack,version=plus,block=100", eps=0.1)
    assert (plus.name, plus.settings) == ("autoattack-plus,block=100", configure(plus.name, eps=0.1).settings)
    assert configure("autoattack,version=standard", eps=0.1).name == "autoattack"
    assert with_version(["pgd", "AutoAttack"], "rand") == ["pgd", "AutoAttack,version=rand"]
    with pytest.raises(InputError, match=r"--version plus is for AutoAttack, .* add --attack autoattack"):
        with_version(["pgd", "mine:autoattack"], "plus")


def test_aliases():
    assert configure("TRADES-KL", eps=0.1).row.name == "trades"


@pytest.mark.parametrize("row", ATTACKS, ids=lambda row: row.name)
def test_every_setting_a_row_shows_can_be_set(row):
    for name, default in row.free_settings().items():
        value = {"step_size": "1/255", "restarts": "2", "targets": "3"}.get(name, default)
        assert configure(f"{row.name},{name}={value}", eps=0.1).row is row


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("pdg", {}, "unknown attack 'pdg': did you mean pgd"),
        ("pgd,steps", {}, "'steps' lacks a value"),
        ("pgd,foo=3", {}, "no setting 'foo=3': it has steps, step_size"),
        ("pgd,steps=5,steps=6", {}, "steps is set twice"),
        ("pgd", {"eps": 8}, "did you mean 8/255"),
        ("pgd,steps=99999999999999999999", {}, "steps=1e"),
        ("fgsm,steps=3", {}, "fgsm has no setting"),
        ("pgd,steps=many", {}, "steps='many'"),
        ("pgd,steps=0", {}, "steps=0"),
        ("pgd,restarts=0", {}, "restarts=0"),
        ("cw-search,search_steps=-3", {}, "search_steps=-3"),
        ("pgd,loss=foo", {}, "unknown loss 'foo': give one of ce, margin, dlr"),
        ("pgd", {"eps": None}, "pgd needs a radius"),
        ("cw,c=0", {}, "c=0"),
        ("cw,lr=nan", {}, "lr=nan"),
        ("cw,norm=linf", {}, "cw has no setting"),
        ("pgd", {"norm": "l7"}, "unknown norm 'l7': give one of linf, l2"),
        ("pgd", {"eps": 0}, "eps must be positive"),
        ("pgd", {"eps": "-8/255"}, "eps must be positive"),
        ("pgd", {"eps": "8/0"}, "'8/0' is not a number"),
        ("pgd", {"eps": "much"}, "'much' is not a number: write it as 8/255"),
        ("pgd", {"eps": "inf"}, "eps"),
        ("autoattack,version=best", {}, "no version 'best': give one of standard, plus, rand"),
        ("pgd,version=plus", {}, "pgd has no setting 'version=plus'"),
        ("trades", {"target": "random"}, "trades cannot aim at a class"),
        ("pgd", {"target": "worst"}, "unknown target 'worst'"),
    ],
)
def test_what_cannot_be_run_is_refused(spec, options, message):
    with pytest.raises(InputError, match=message):
        configure(spec, **{"eps": "8/255"} | options)


@pytest.mark.parametrize("value", [0.5 / 255, 2.5 / 255, 8 / 255, 0.2, 0.031, 1.0, 12, 1e-3, 100 / 255, 51 / 255])
def test_a_radius_is_written_so_that_it_can_be_read(value):
    assert parse_radius(write_radius(value)) == value


def test_a_battery_names_each_attack_once():
    with pytest.raises(InputError, match="pgd is named twice"):
        configure_battery(["pgd", "pgd"], eps=0.1)
    assert [a.name for a in configure_battery(["pgd", "pgd,steps=50"], eps=0.1)] == ["pgd", "pgd,steps=50"]
    with pytest.raises(InputError, match="no attack given"):
        configure_battery([], eps=0.1)
    with pytest.raises(InputError, match="a name or a callable"):
        configure_battery([3], eps=0.1)
