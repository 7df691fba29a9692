"""``energylens doctor`` as a user meets it."""

import json


def test_a_healthy_model_exits_with_0(run):
    status, out, _ = run("doctor", "digits-standard", "--n", "48")
    assert status == 0
    assert "digits-standard on digits, 48 samples" in out and "Nothing fails" in out


def test_a_disease_is_told_with_its_remedy_and_exits_with_1(run, monkeypatch, tmp_path):
    (tmp_path / "diseased.py").write_text(
        "from torch import nn\nimport energylens as el\n\n"
        "def model():\n    return nn.Sequential(el.load_model('digits-standard'), nn.Softmax(dim=1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    status, out, _ = run("doctor", "diseased:model", "--dataset", "digits", "--n", "48")
    assert status == 1
    assert "FAIL logits" in out and "return what goes into the softmax" in out and "Failed: logits." in out
    status, out, _ = run("doctor", "diseased:model", "--dataset", "digits", "--n", "48", "--json")
    told = json.loads(out)
    assert status == 1 and not told["healthy"]
    assert list(told) == ["model", "dataset", "n", "eps", "findings", "healthy"]
    assert [row["check"] for row in told["findings"] if row["verdict"] == "fail"] == ["logits"]
    assert list(told["findings"][0]) == ["verdict", "measured", "meaning", "remedy", "check"]


def test_mistakes_are_input_errors(run):
    status, out, err = run("doctor", "digit-standard")
    assert status == 2 and "unknown model" in err and not out
    status, out, err = run("doctor", "digits-standard", "--n", "10")
    assert status == 2 and "10 images came, at least 48 were expected" in err and not out
