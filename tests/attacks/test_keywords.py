"""An attack's settings as Python keywords: ``el.attack("pgd", ..., steps=50)`` and ``el.Attack("pgd", steps=50)``."""

import inspect
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import energylens as el
from energylens.attacks.battery import configure
from energylens.attacks.registry import ATTACKS
from energylens.attacks.spec import kind_of
from energylens.models import card_of
from energylens.records.manifest import manifest_of


@pytest.fixture(scope="module")
def robust():
    return el.load_model("digits-pgd")


@pytest.fixture(scope="module")
def digits():
    return el.load_data("digits", n=12)


PAIRS = [
    (el.Attack("pgd", steps=3, restarts=2), "pgd,steps=3,restarts=2"),
    (el.Attack("pgd", eps=8 / 255, step_size=2 / 255), "pgd,eps=8/255,step_size=2/255"),
    (el.Attack("pgd", eps="8/255"), "pgd,eps=8/255"),
    (el.Attack("pgd", eps=np.float64(0.5), norm="l2", steps=np.int64(4)), "pgd,eps=0.5,norm=l2,steps=4"),
    (el.Attack("pgd", loss="margin", target=3), "pgd,loss=margin,target=3"),
    (el.Attack("pgd", target="least-likely", steps=None), "pgd,target=least-likely"),
    (el.Attack("cw", c=10), "cw,c=10"),  # a whole number where any number will do
    (el.Attack("cw", lr=0.001), "cw,lr=0.001"),
    (el.Attack("autoattack", version="plus", block=7), "autoattack-plus,block=7"),
    (el.Attack("pgd,steps=3", restarts=2), "pgd,steps=3,restarts=2"),
    (el.Attack(el.Attack("pgd", steps=3), restarts=2), "pgd,steps=3,restarts=2"),
    (el.Attack("TRADES-KL"), "trades"),
]


@pytest.mark.parametrize(("attack", "text"), PAIRS, ids=[text for _, text in PAIRS])
def test_python_values_make_the_attack_that_the_text_makes(robust, digits, attack, text):
    """Name, label and all that a folder's fingerprint is of."""
    ours, theirs = (configure(spec, eps=0.2) for spec in (attack, text))
    assert (ours.name, ours.label, ours.settings, ours.eps_text) == (
        text,
        theirs.label,
        theirs.settings,
        theirs.eps_text,
    )
    manifests = [manifest_of(one, card_of(robust), digits, {}) for one in (ours, theirs)]
    assert repr(manifests[0]) == repr(manifests[1])  # 10 and 10.0 are equal to Python, and two numbers in JSON
    assert eval(repr(attack), {"Attack": el.Attack}) == attack == pickle.loads(pickle.dumps(attack)) == el.Attack(text)
    assert len({attack, el.Attack(text)}) == 1


def test_a_profile_finds_the_rows_of_one_form_under_the_other(robust, digits, tmp_path):
    first = el.profile(robust, digits, ["pgd,steps=2", "fgsm"], out=tmp_path, ladder=False)
    folders = set(tmp_path.glob("*/*"))
    again = el.profile(robust, digits, [el.Attack("pgd", steps=2), "fgsm"], out=tmp_path, ladder=False)
    assert set(tmp_path.glob("*/*")) == folders and str(again) == str(first)
    alone = el.profile(robust, digits, el.Attack("pgd", steps=2), ladder=False)
    assert [attack.name for attack in alone.attacks] == ["natural", "pgd,steps=2"]
    with pytest.raises(el.InputError, match="pgd,steps=2 is named twice"):
        el.profile(robust, digits, ["pgd,steps=2", el.Attack("pgd", steps=2)])


@pytest.mark.parametrize("row", ATTACKS, ids=lambda row: row.name)
def test_every_setting_a_row_shows_is_a_keyword_with_help(row):
    listed = str(el.Attack(row.name))
    assert listed.startswith(f"{row.name}: ") and row.source in listed
    taken = inspect.signature(el.attack).parameters
    for name, default in row.free_settings().items():
        (line,) = [line for line in listed.splitlines() if line.startswith(f"  {name}={default} ")]
        assert line.removeprefix(f"  {name}={default}").strip()  # its help
        assert name not in taken  # or it could not be given
        value = getattr(row.defaults, name, None)
        value = {"step_size": 1 / 255, "version": default}.get(name, value)
        if value is None:
            value = 2 if kind_of(name, row).words == "a whole number" else "digits-ddpm"
        attack = el.Attack(row.name, **{name: value})
        assert attack.row is row and (name == "version" or attack.values == {name: value})
    assert f"        {row.name}: " in el.attack.__doc__


def test_what_was_set_is_listed_with_the_default_it_replaces():
    listed = str(el.Attack("pgd", steps=50, eps=8 / 255)).splitlines()
    assert any(line.startswith("  steps=50 ") and line.endswith("(default 20)") for line in listed)
    assert any(line.startswith("  eps=8/255 ") for line in listed)
    assert not any(line.startswith("  target") for line in str(el.Attack("trades")).splitlines())  # it cannot be aimed


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("pdg", {}, "unknown attack 'pdg': did you mean pgd"),
        (3, {}, "an attack's name is text such as 'pgd', not of type int"),
        (
            "pgd",
            {"stpes": 3},
            "pgd has no setting 'stpes': did you mean steps? it has steps, step_size, loss",
        ),
        ("pgd", {"alpha": 0.01}, "pgd has no setting 'alpha': it has steps, step_size"),
        ("fgsm", {"steps": 3}, "fgsm has no setting 'steps'"),
        ("pgd", {"stpes": None}, "pgd has no setting 'stpes'"),
        ("pgd", {"gamma": 3}, "pgd has no setting 'gamma'"),
        ("pgd", {"version": "plus"}, "pgd has no setting 'version'"),
        ("cw", {"eps": 0.1}, "cw has no setting 'eps'"),
        ("pgd", {"steps": 50.0}, "pgd: steps=50.0 is of type float, a whole number was expected"),
        ("pgd", {"steps": "50"}, "pgd: steps='50' is of type str, a whole number was expected"),
        ("pgd", {"restarts": True}, "pgd: restarts=True is of type bool, a whole number was expected"),
        ("pgd", {"loss": 3}, "pgd: loss=3 is of type int, text was expected"),
        ("cw", {"lr": "0.1"}, "cw: lr='0.1' is of type str, a number was expected"),
        (
            "pgd",
            {"eps": [0.1]},
            "pgd: eps=[0.1] is of type list, a length such as 8/255 was expected",
        ),
        ("pgd", {"target": 1.5}, "pgd: target=1.5 is of type float, a rule or a class number was expected"),
        ("pgd", {"steps": 0}, "pgd: steps=0 cannot be run with: a number above 0"),
        ("pgd", {"steps": -1}, "pgd: steps=-1 cannot be run with"),
        ("cw", {"lr": float("nan")}, "cw: lr=nan cannot be run with"),
        ("pgd", {"step_size": -0.1}, "pgd: step_size must be positive"),
        ("pgd", {"eps": "much"}, "pgd: eps 'much' is not a number"),
        ("pgd", {"eps": 8, "norm": "linf"}, "did you mean 8/255"),
        ("pgd", {"loss": "foo"}, "pgd: unknown loss 'foo': give one of ce, margin, dlr"),
        ("pgd", {"norm": "l7"}, "pgd: unknown norm 'l7': give one of linf, l2"),
        ("pgd", {"backend": "odd"}, "unknown backend 'odd': give one of plain, fused, bf16"),
        ("trades", {"target": 3}, "trades cannot aim at a class"),
        ("pgd,steps=3", {"steps": 4}, "pgd: steps is set twice"),
    ],
)
def test_a_mistake_is_told_in_one_line_where_it_is_made(name, settings, message):
    with pytest.raises(el.InputError) as raised:
        el.Attack(name, **settings)
    assert message in str(raised.value) and "\n" not in str(raised.value)


class TestAttackAlone:
    """``el.attack``."""

    def test_keywords_text_and_attack_give_the_same_images(self, robust, digits):
        x, y = digits.images, digits.labels
        images = el.attack("pgd", robust, x, y, eps=0.2, steps=3, restarts=2, step_size=0.1)
        for spec, more in (
            ("pgd,steps=3,restarts=2,step_size=0.1", {"eps": "0.2"}),
            ("pgd,steps=3", {"eps": 0.2, "restarts": 2, "step_size": "0.1"}),
            (el.Attack("pgd", steps=3, restarts=2, step_size=0.1, eps=0.2), {}),
            (el.Attack("pgd", steps=3, eps=0.2), {"eps": 0.1, "restarts": 2, "step_size": 0.1}),  # its own eps holds
        ):
            assert torch.equal(el.attack(spec, robust, x, y, **more), images), spec
        assert not torch.equal(el.attack("pgd", robust, x, y, eps=0.2, steps=3, step_size=0.1), images)

    def test_what_the_attack_does_not_have_is_refused(self, robust, digits):
        x, y = digits.images, digits.labels
        for spec, settings, message in (
            ("fgsm", {"steps": 3}, "fgsm has no setting 'steps'"),
            ("pgd", {"epsilon": 0.2}, "did you mean eps"),
            ("pgd,steps=3", {"steps": 4}, "steps is set twice"),
            ("cw", {"norm": "linf"}, "cw works in l2, not in linf"),
            (lambda model, x, y: x, {"steps": 3}, "steps: a callable takes no settings here: bind them"),
            ("mine:attack", {"steps": 3}, "steps: a callable takes no settings here: bind them"),
        ):
            with pytest.raises(el.InputError, match=message):
                el.attack(spec, robust, x, y, **settings)

    def test_an_eps_that_the_attack_has_no_use_for_is_told(self, robust, digits):
        x, y = digits.images, digits.labels
        for spec, name in (("cw", "cw"), (torch_flip, "torch_flip")):
            with pytest.warns(el.Note, match=f"{name} takes no eps: 8/255 is left out"):
                with_eps = el.attack(spec, robust, x, y, eps=8 / 255)
            assert torch.equal(with_eps, el.attack(spec, robust, x, y))

    def test_a_class_number_is_a_target(self, robust, digits):
        x, y = digits.images, digits.labels
        images = el.attack("pgd", robust, x, y, eps=0.2, target=3)
        assert torch.equal(images, el.attack("pgd,target=3", robust, x, y, eps=0.2))

    def test_a_loss_that_needs_more_classes_is_refused_before_it_runs(self):
        two = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
        with pytest.raises(el.InputError, match="needs 3 classes, its DLR loss is undefined for 2"):
            el.attack("pgd", two, torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), eps=0.1, loss="dlr")


def torch_flip(model, x, y):
    return x.flip(-1)


class TestFull:
    """``el.attack(..., full=True)``."""

    @pytest.mark.parametrize(
        ("spec", "settings"),
        [
            ("pgd", {"eps": 0.2, "steps": 3}),
            ("pgd", {"eps": 0.2, "steps": 3, "restarts": 2, "target": "random"}),
            ("trades", {"eps": 0.2, "steps": 2}),
            ("cw", {"steps": 5}),
            ("apgd-ce", {"eps": 0.2, "steps": 3}),
            (torch_flip, {}),
        ],
    )
    def test_it_tells_what_a_record_tells(self, robust, digits, spec, settings):
        x, y = digits.images, digits.labels
        result = el.attack(spec, robust, x, y, full=True, **settings)
        assert torch.equal(result.x_adv, el.attack(spec, robust, x, y, **settings))
        attack = spec if callable(spec) else el.Attack(spec, **settings)
        rows = el.profile(robust, digits, attack, ladder=False).attacks[1].rows
        for name in ("marginal_clean", "marginal_adv", "joint_clean", "joint_adv"):
            torch.testing.assert_close(getattr(result, name), torch.tensor(rows[name].to_numpy()), atol=1e-5, rtol=1e-5)
        for name in ("success", "steps", "forwards", "backwards"):
            assert getattr(result, name).tolist() == rows[name].tolist(), name
        assert (result.target is not None) == ("target" in settings)
        if result.target is not None:
            assert result.target.tolist() == rows["target"].tolist()
        with torch.no_grad():
            torch.testing.assert_close(result.logits_adv, robust(result.x_adv), atol=1e-5, rtol=1e-5)
        assert torch.equal(result.marginal_clean, el.marginal_energy(result.logits_clean))

    @pytest.mark.parametrize(
        ("spec", "settings", "forwards"),
        [
            ("fgsm", {"eps": 0.2}, 3),  # natural, the step, adversarial
            ("trades", {"eps": 0.2, "steps": 2}, 4),  # the natural logits are those that the loss compares with
            ("pgd", {"eps": 0.2, "steps": 2, "target": "least-likely"}, 4),  # and those that choose the target
            ("cw", {"steps": 2}, 3),  # it has the logits of the images it returns
        ],
    )
    def test_no_logits_are_computed_twice(self, robust, digits, spec, settings, forwards):
        seen = []
        handle = robust.register_forward_hook(lambda module, inputs, logits: seen.append(len(logits)))
        try:
            el.attack(spec, robust, digits.images, digits.labels, full=True, **settings)
        finally:
            handle.remove()
        assert len(seen) == forwards
