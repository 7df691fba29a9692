"""The command line as a user meets it: what it prints, where, and with which exit status."""

import json
import re
import subprocess
import sys

import pandas as pd
import pytest
from PIL import Image

import energylens as el
from energylens.models import find_models

FAST = ["--n", "20", "--attack", "fgsm", "--attack", "cw,steps=10"]


def test_profile_prints_a_table_natural_first(run):
    status, out, _ = run("profile", *FAST)
    assert status == 0
    assert "digits-standard on digits, 20 samples, eps 0.2 linf, seed 0" in out
    assert out.splitlines()[-1] == "Kept in runs/digits-standard"
    first = [line.split()[0] for line in out.splitlines() if line.strip()]
    assert first.index("natural") < first.index("fgsm") < first.index("cw,steps=10")


def test_json_is_all_of_standard_output(run):
    status, out, _ = run("profile", *FAST, "--json", "--eps", "8/255")
    assert status == 0
    told = json.loads(out)
    names = "model dataset split choose n eps norm seed rows ladder notes published"
    assert list(told) == names.split()
    assert (told["model"], told["dataset"], told["n"], told["eps"]) == ("digits-standard", "digits", 20, 8 / 255)
    assert [row["attack"] for row in told["rows"]] == ["natural", "fgsm", "cw,steps=10"]
    assert list(told["rows"][0]) == [
        "attack", "n", "accuracy", "marginal_mean", "joint_mean", "delta_marginal_mean", "delta_joint_mean",
        "abnormal_share", "linf_mean", "l2_mean", "forwards", "backwards", "seconds",
        "auroc", "detector_threshold", "detector_side", "tpr", "fpr",
    ]  # fmt: skip


def test_targets_and_unusual_samples_are_told(run):
    words = ("--n", 20, "--attack", "fgsm", "--target", "random", "--choose", "balanced", "--split", "train")
    _, out, _ = run("profile", *words)
    assert "digits-standard on digits, 20 balanced train samples, eps" in out and "target hit" in out
    _, out, _ = run("profile", *words, "--json")
    told = json.loads(out)
    assert (told["split"], told["choose"]) == ("train", "balanced")
    natural, fgsm = told["rows"]
    assert "success_share" not in natural and 0 < fgsm["success_share"] <= 1 - fgsm["accuracy"]


def test_a_version_of_autoattack_is_its_row(run, monkeypatch):
    from energylens.attacks import autoattack

    monkeypatch.setattr(autoattack, "PARTS", dict.fromkeys(autoattack.PARTS, autoattack.PARTS["apgd-ce"]))
    _, out, _ = run("profile", "--n", 2, "--attack", "autoattack", "--version", "rand", "--json")
    assert [row["attack"] for row in json.loads(out)["rows"]] == ["natural", "autoattack-rand"]


@pytest.fixture
def foreign(tmp_path):
    """Attacks of the user's own in the current directory, the first with the help of a module beside it."""
    (tmp_path / "my_shift.py").write_text("def shift(x):\n    return (x + 0.1).clamp(0, 1)\n")
    (tmp_path / "my_attacks.py").write_text(
        "def brighter(model, x, y):\n    from my_shift import shift\n    return shift(x)\n\n"
        "def out_of_ideas(model, x, y):\n    raise RuntimeError('no more\\nideas')\n\n"
        "def nothing(model, x, y):\n    pass\n\n"
        "number = 3\n"
    )
    yield
    for name in ("my_attacks", "my_shift"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("foreign")
def test_an_attack_in_the_current_directory_is_recorded(run, tmp_path):
    path = list(sys.path)
    status, out, _ = run("profile", "--n", 20, "--attack", "my_attacks:brighter", "--json")
    assert status == 0
    row = json.loads(out)["rows"][1]
    assert row["attack"] == "my_attacks:brighter" and row["linf_mean"] == pytest.approx(0.1)
    assert len(list(tmp_path.glob("runs/digits-standard/my_attacks-brighter-*/part-*.parquet"))) == 1
    assert sys.path == path


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("no_such_module:f", "no_such_module:f gave ModuleNotFoundError: No module named 'no_such_module'"),
        ("my_attacks:absent", "has no attribute 'absent'. Expected .* an attack f(model, x, y) -> x_adv"),
        ("my_attacks:number", "my_attacks:number is a int; expected a callable f(model, x, y) -> x_adv"),
        ("my_attacks:out_of_ideas", "attack my_attacks:out_of_ideas raised RuntimeError: no more ideas"),
        ("my_attacks:nothing", "attack my_attacks:nothing returned NoneType; expected a tensor of images"),
    ],
)
def test_what_is_wrong_with_an_attack_of_ones_own_is_told(address, message, run):
    status, out, err = run("profile", "--n", 5, "--attack", address)
    assert (status, out) == (2, "") and re.search(re.escape(message).replace(r"\.\*", ".*"), err), err
    assert len(err.splitlines()) == 1


def test_several_models_are_a_list(run):
    _, out, _ = run("profile", *FAST, "--json", "--model", "digits-standard", "--model", "digits-pgd")
    assert [told["model"] for told in json.loads(out)] == ["digits-standard", "digits-pgd"]


def test_the_record_is_reused_and_overwritten(run, tmp_path):
    run("profile", *FAST)
    parts = {part: part.stat().st_mtime_ns for part in tmp_path.glob("runs/*/*/part-*.parquet")}
    assert len(parts) == 3
    run("profile", *FAST)
    assert {part: part.stat().st_mtime_ns for part in parts} == parts
    run("profile", *FAST, "--overwrite")
    assert all(part.stat().st_mtime_ns > before for part, before in parts.items())


def test_progress_goes_to_standard_error_in_plain_lines(run, monkeypatch):
    monkeypatch.setattr("energylens.cli.progress.EVERY", 0)
    _, out, err = run("profile", *FAST, "--json", "--batch-size", "10")
    json.loads(out)
    assert "100 %" in err and "passes/s, ETA 0 s" in err


def test_histogram_draws_and_says_where(run, tmp_path):
    status, out, _ = run("histogram", "--attack", "cw", "--n", "50")
    assert status == 0
    png, pdf, csv, _ = (tmp_path / line for line in out.split())
    with Image.open(png) as picture:
        assert picture.size[0] > 800
    assert pdf.read_bytes().startswith(b"%PDF")
    bins = pd.read_csv(csv)
    assert set(bins["attack"]) == {"cw"} and set(bins["energy"]) == {"marginal", "joint"}
    assert (bins.groupby(["energy", "series"])["count"].sum() == 50).all()


def test_a_histogram_of_two_models_shows_them_side_by_side(run, tmp_path):
    names = ["digits-standard", "digits-pgd"]
    status, out, _ = run("histogram", "--model", names[0], "--model", names[1], "--attack", "fgsm", "--n", "20")
    assert status == 0
    table = pd.read_csv(tmp_path / next(line for line in out.splitlines() if line.endswith(".csv")))
    assert table["attack"].unique().tolist() == [f"{name}: fgsm" for name in names]
    for name in names:
        mean = table.query("attack == @name + ': fgsm' and energy == 'joint' and series == 'adversarial'")["mean"]
        record = el.profile(name, attacks="fgsm", n=20)
        assert mean.iloc[0] == pytest.approx(record["fgsm"].rows["joint_adv"].mean(), abs=1e-4)


def test_histogram_uses_the_record_that_is_there(run, tmp_path):
    run("profile", "--attack", "fgsm", "--n", "20")
    before = {part: part.stat().st_mtime_ns for part in tmp_path.glob("runs/*/*/part-*.parquet")}
    run("histogram", "--attack", "fgsm", "--n", "20", "--figure", "mine.png")
    assert (tmp_path / "mine.csv").exists()
    assert {part: part.stat().st_mtime_ns for part in tmp_path.glob("runs/*/*/part-*.parquet")} == before


def test_attacks_and_models_are_listed(run):
    _, out, _ = run("attacks")
    assert all(name in out for name in ("fgsm", "n-fgsm", "trades", "he-pgd", "cw-search", "restarts=1"))
    _, out, _ = run("models")
    assert f"{len(find_models())} models;" in out and "digits-pgd" in out
    _, out, _ = run("models", "carmon")
    assert "Carmon2019Unlabeled" in out and "89.69" in out and "59.53" in out and "1 model;" in out
    assert "corruptions" not in out  # nobody has measured any
    (carmon,) = json.loads(run("models", "carmon", "--json")[1])
    assert (carmon["name"], carmon["autoattack"], carmon["eps"]) == ("Carmon2019Unlabeled", 59.53, 8 / 255)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["profil"], 2, "unknown command 'profil': did you mean profile"),
        (["profile", "--model", "digit-standard"], 2, "unknown model 'digit-standard'.*digits-standard"),
        (["profile", "--model", "Wang2023"], 2, "Wang2023Better_WRN-28-10"),
        (["profile", "--version", "plus"], 2, "--version plus is for AutoAttack.*add --attack autoattack"),
        (["profile", "--attack", "pdg"], 2, "unknown attack 'pdg': did you mean pgd"),
        (["profile", "--dataset", "cifar"], 2, "unknown data set 'cifar'.*cifar10"),
        (["profile", "--n", "501"], 2, "501.*500"),
        (["profile", "--n", "0"], 2, "0 is not positive"),
        (["profile", "--n", "many"], 2, "many"),
        (["profile", "--eps", "0"], 2, "eps must be positive"),
        (["profile", "--eps", "8/2x"], 2, "write it as 8/255"),
        (["profile", "--norm", "l3"], 2, "'linf', 'l2', 'l1'"),
        (["profile", "--norm", "l1", "--eps", "5", "--attack", "pgd"], 2, "unknown norm 'l1': give one of linf, l2"),
        (["profile", "--eps", "8"], 2, "did you mean 8/255"),
        (["profile", "--seed", "99999999999999999999"], 2, "seed 99999999999999999999"),
        (["histogram", "--n", "20", "--range", "20", "-50"], 2, "from a lower to a higher energy"),
        (["histogram", "--n", "20", "--range", "500", "600"], 2, "no marginal energy lies from 500 to 600"),
        (["histogram", "--n", "20", "--figure", "x.svg"], 2, "not as .svg"),
        (["trajectory", "--model", "digits-pgd", "--model", "digits-standard"], 2, "of one model, 2 were named"),
        (["profile", "--nonsense"], 2, "--nonsense"),
        (["profile", "--device", "cuda:77"], 2, "device 'cuda:77' cannot be used"),
        (["profile", "--model", "missing.pt", "--arch", "resnet18"], 2, "missing.pt"),
        (["profile", "--out", "file"], 1, "cannot write to file"),
        (["histogram", "--n", "20", "--figure", "file/x.png"], 1, "cannot write"),
        (["models", "zzz"], 2, "no model matches 'zzz'"),
    ],
)
def test_mistakes_get_one_clear_message(words, status, message, run, tmp_path):
    (tmp_path / "file").write_text("")
    came, out, err = run(*words)
    assert came == status
    assert re.search(message, err.replace("\n", " ")), err
    assert "Traceback" not in err and not out


def test_missing_data_is_explained(run, monkeypatch, tmp_path):
    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.CIFAR10.download", offline)
    status, _, err = run("profile", "--model", "autoattack-resnet18", "--data-root", tmp_path / "nowhere")
    assert status == 1
    assert str(tmp_path / "nowhere") in err and "test_batch" in err and "CIFAR10" in err and "--data-root" in err


def test_ctrl_c_keeps_what_is_finished(run, monkeypatch, tmp_path):
    from energylens.attacks.battery import ConfiguredAttack

    original, calls = ConfiguredAttack.__call__, []

    def interrupted(self, *args, **options):
        calls.append(self.row.name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(self, *args, **options)

    monkeypatch.setattr(ConfiguredAttack, "__call__", interrupted)
    words = ("profile", "--n", "20", "--attack", "fgsm", "--batch-size", "10")
    status, _, err = run(*words)
    assert status == 130 and "interrupted" in err and "Traceback" not in err
    assert len(list(tmp_path.glob("runs/*/natural-*/part-*.parquet"))) == 2
    assert len(list(tmp_path.glob("runs/*/fgsm-*/part-*.parquet"))) == 1
    assert run(*words)[0] == 0
    assert len(list(tmp_path.glob("runs/*/fgsm-*/part-*.parquet"))) == 2


def test_help_needs_no_torch():
    code = "import sys; from energylens.cli import root; root.main(['profile', '--help'], standalone_mode=False); "
    code += "heavy = {'torch', 'robustbench', 'matplotlib', 'seaborn', 'pandas', 'rich'}; "
    code += "assert not heavy & set(sys.modules), 'heavy import'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--attack" in done.stdout
