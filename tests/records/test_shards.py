"""Shares of a run: cut at blocks, merged to the table of one process, whoever did them."""

import json
import socket
import subprocess
import sys

import pandas as pd
import pytest
import torch
from torch.distributed.run import main as torchrun

import energylens as el
from energylens.records.merging import merge
from energylens.records.shards import Ranks, Shard, parse_shard

BATTERY = ["rs-fgsm", "apgd-ce,steps=3,block=4"]
OPTIONS = {"data": "digits", "attacks": BATTERY, "n": 18, "ladder": False}


def flip(model, x, y):
    return x.flip(-1)


@pytest.fixture(scope="module")
def robust():
    return el.load_model("digits-pgd")


@pytest.fixture(scope="module")
def alone(robust):
    return el.profile(robust, **OPTIONS).frame()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 30])
@pytest.mark.parametrize("unit", [1, 4])
def test_shares_are_disjoint_whole_and_cut_at_units(count, unit):
    shares = [Shard(i, count).positions(50, unit) for i in range(1, count + 1)]
    assert [position for share in shares for position in share] == list(range(50))
    assert all(share.start % unit == 0 for share in shares if share)
    assert max(map(len, shares)) - min(map(len, shares)) <= 2 * unit


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", ""])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(el.InputError, match="1/8 to 8/8"):
        parse_shard(text)


def test_shares_in_one_folder_come_together(robust, alone, tmp_path):
    parts = [el.profile(robust, out=tmp_path, shard=shard, **OPTIONS) for shard in ("1/2", "2/2")]
    assert [len(part) for part in parts] == [8, 10]
    calls = []
    hook = robust.register_forward_hook(lambda module, args, logits: calls.append(len(logits)))
    together = el.profile(robust, out=tmp_path, **OPTIONS).frame()
    hook.remove()
    assert calls == [1, 4, 5]  # whether model and data fit, and who the model is: nothing is computed again
    pd.testing.assert_frame_equal(together, alone, rtol=1e-5, atol=1e-5)


def test_merge_puts_folders_together_with_their_images_and_callables(robust, tmp_path):
    options = OPTIONS | {"attacks": [*BATTERY, flip], "save_images": True}
    whole = el.profile(robust, **options | {"attacks": [*BATTERY, flip]})
    for i, shard in enumerate(("1/2", "2/2")):
        el.profile(robust, out=tmp_path / str(i), shard=shard, **options | {"attacks": BATTERY})
    merged = merge([tmp_path / "0", tmp_path / "1"], tmp_path / "all")
    assert [run.added for run in merged] == [8, 8, 8, 10, 10, 10]
    assert not sum(run.added for run in merge([tmp_path / "0"], tmp_path / "all"))  # again: nothing twice
    record = el.profile(robust, out=tmp_path / "all", **options)
    pd.testing.assert_frame_equal(record.frame(), whole.frame(), rtol=1e-5, atol=1e-5)
    for name in BATTERY:
        one, two = record[name].images()["x_adv"], whole[name].images()["x_adv"]
        assert one.shape == (18, 1, 8, 8) and (one - two).abs().max() < 1e-5


def test_shares_of_a_callable_do_not_replace_each_other(robust, tmp_path):
    for shard in ("1/2", "2/2"):
        el.profile(robust, "digits", [flip], n=100, out=tmp_path, shard=shard)
    runs = {run.path: run.rows for run in merge([tmp_path], tmp_path.with_name("all"))}
    assert sorted(runs.values()) == [100, 100]  # natural and flip


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"shard": "1/9", "attacks": ["apgd-ce,block=4"]}, "share 1/9 is empty: 18 samples"),
        ({"shard": "1/2", "overwrite": True}, "fresh --out"),
    ],
)
def test_shares_that_cannot_be_are_refused(asked, message, robust, tmp_path):
    with pytest.raises(el.InputError, match=message):
        el.profile(robust, out=tmp_path, **OPTIONS | asked)


def test_merge_refuses_what_does_not_belong_together(robust, tmp_path):
    with pytest.raises(el.InputError, match="no records lie in"):
        merge([tmp_path], tmp_path / "all")
    for name in "ab":
        el.profile(robust, "digits", ["fgsm"], n=4, out=tmp_path / name)
    with pytest.raises(el.InputError, match="one of the sources"):
        merge([tmp_path / "a"], tmp_path / "a")
    (part,) = (tmp_path / "a").glob("*/fgsm-*/part-*.parquet")
    pd.read_parquet(part).assign(marginal_adv=7.0).to_parquet(part)
    with pytest.raises(el.RunError, match=r"sample 0 has marginal_adv .* must agree"):
        merge([tmp_path / "b", tmp_path / "a"], tmp_path / "all")
    (path,) = (tmp_path / "b").glob("*/fgsm-*/manifest.json")
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"identity": manifest["identity"] | {"schema": 0}}))
    with pytest.raises(el.RunError, match=r"schema 0, this energylens writes schema 1"):
        merge([tmp_path / "b"], tmp_path / "all")
    path.write_text(json.dumps(manifest | {"identity": manifest["identity"] | {"seed": 5}}))
    with pytest.raises(el.RunError, match="does not belong to its folder"):
        merge([tmp_path / "b"], tmp_path / "all")


def test_two_processes_of_a_launcher_equal_one(tmp_path):
    """Real torchrun: both ranks take a share, one table comes out, printed once."""
    battery = ["--attack", "rs-fgsm", "--attack", "apgd-ce,steps=3,block=4", "--n", "18"]
    command = ["energylens", "profile", "--model", "digits-pgd", *battery, "--json", "--out"]
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    two, one = (
        json.loads(subprocess.run([sys.executable, "-m", *start, *command, str(tmp_path / name)], check=True,
                                  capture_output=True, text=True).stdout)
        for name, start in (("two", launcher), ("one", []))
    )  # fmt: skip
    for row in [*two["rows"], *one["rows"]]:
        del row["seconds"]
    assert [row["attack"] for row in two["rows"]] == ["natural", *BATTERY]
    for together, single in zip(two["rows"], one["rows"], strict=True):
        assert together == pytest.approx(single, abs=1e-5)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({}, "without RANK, MASTER_ADDR, MASTER_PORT"),
        ({"RANK": "0", "MASTER_PORT": "29500"}, "without MASTER_ADDR: start"),
        ({"RANK": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}, "RANK=2 in the environment is none of 2"),
        ({"RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "tcp"}, "MASTER_PORT='tcp'"),
    ],
)
@pytest.mark.parametrize("command", ["profile", "generate", "train"])
def test_half_a_launcher_is_told_in_a_line(command, told, message, run, monkeypatch):
    for name, value in ({"WORLD_SIZE": "2"} | told).items():
        monkeypatch.setenv(name, value)
    status, out, err = run(command)
    assert (status, out) == (2, "")
    assert message in err.splitlines()[-1] and "Traceback" not in err


@pytest.mark.parametrize("command", ["profile", "generate"])
def test_a_port_in_use_is_told_in_a_line(command, run, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told = {"WORLD_SIZE": 2, "RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": taken.getsockname()[1]}
        for name, value in told.items():
            monkeypatch.setenv(name, str(value))
        status, _, err = run(command)
    assert status == 1 and err.count("\n") == 1
    assert f"cannot meet at 127.0.0.1:{told['MASTER_PORT']} (address already in use)" in err


def test_two_processes_of_a_launcher_generate_together(tmp_path):
    options = ["--n", "7", "--steps", "2", "--out", str(tmp_path)]
    torchrun(["--standalone", "--nproc-per-node", "2", "-m", "--", "energylens", "generate", *options])
    (folder,) = tmp_path.glob("*/generate-*")
    assert len(list(folder.glob("part-*"))) == 2  # a share each
    assert len(list((folder / "images").iterdir())) == 7
    calls = []
    model = el.load_model("digits-pgd")
    hook = model.register_forward_hook(lambda *_: calls.append(1))
    there, alone = el.generate(model, n=7, steps=2, out=tmp_path), el.generate(n=7, steps=2)
    hook.remove()
    assert len(calls) == 4  # do they fit, is it the same model (2), are these its images: nothing is made again
    assert torch.allclose(there.images, alone.images, atol=1e-5)


@pytest.mark.parametrize(("shard", "out", "message"), [("1/2", "out", "shard='ranks'"), ("ranks", None, "give out")])
def test_shares_of_a_generation_that_cannot_be_are_refused(shard, out, message, monkeypatch):
    monkeypatch.setattr("energylens.generation.generate.joined_ranks", lambda: Ranks(0, 2))
    with pytest.raises(el.InputError, match=message):
        el.generate(shard=shard, out=out)
