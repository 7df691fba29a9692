"""Whose rows are these: another model, or other images, never get what is on the disk."""

import json
import shutil
import sys
import types
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.functional import to_tensor

import energylens as el
from energylens.data import Samples, contents
from energylens.data.sources import Files
from energylens.generation.features import Extractor
from energylens.generation.generated import to_bytes
from energylens.generation.reference import reference
from energylens.models import module_digest
from energylens.records.identity import KINKS, ROUNDING, ask
from energylens.records.merging import merge
from energylens.records.run_folder import fingerprint
from energylens.training import loop
from energylens.training import run as training_run
from energylens.training.data import load_training_data
from energylens.training.settings import TrainSettings

SCALE = 1.0  # a global that a model reads
ANSWERING = [4, 5]  # the images of the two forwards that ask who a model is


class Pre(nn.Module):
    """A network that sees its images through a function, and holds what else it is given."""

    def __init__(self, see, **held):
        super().__init__()
        self.net, self.see = el.load_model("digits-pgd"), see
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.net(self.see(x))


class Holding(Pre):
    """The same with a number out of an attribute of its own."""

    def __init__(self, get, **held):
        super().__init__(None, **held)
        self._get = get

    def forward(self, x):
        return self.net(x * self._get(self))


class Times:
    """A callable that torch knows nothing of."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, x):
        return x * self.scale


def by_global(scale):
    global SCALE
    SCALE = scale
    return Pre(lambda x: x * SCALE)


def by_helper(scale):
    helper = sys.modules["helper_of_mine"] = types.ModuleType("helper_of_mine")
    helper.scaled = lambda x: x * scale
    return Pre(_through_helper)


def _through_helper(x):
    import helper_of_mine

    return helper_of_mine.scaled(x)


def hooked(scale, before):
    model = Pre(lambda x: x)
    if before:
        model.net.register_forward_pre_hook(lambda module, inputs: (inputs[0] * scale,))
    else:
        model.net.register_forward_hook(lambda module, inputs, logits: logits * scale)
    return model


def patched(scale):
    model = Pre(lambda x: x)
    model.net.forward = lambda x, forward=model.net.forward: forward(x) * scale
    return model


def turned(scale):
    """The same logits, the gradient times ``scale``."""

    def see(x):
        seen = x * 1
        if seen.requires_grad:
            seen.register_hook(lambda gradient: gradient * (2 * scale - 1.5))
        return seen

    return Pre(see)


KINDS = {
    "closure": lambda s: Pre(lambda x: x * s),
    "default": lambda s: Pre(lambda x, scale=s: x * scale),
    "partial": lambda s: Pre(partial(torch.mul, other=s)),
    "callable": lambda s: Pre(Times(s)),
    "method": lambda s: Pre(Times(s).__call__),
    "float": lambda s: Holding(lambda own: own.scale, scale=s),
    "list": lambda s: Holding(lambda own: own.scales[0], scales=[s]),
    "dict": lambda s: Holding(lambda own: own.scales["x"], scales={"x": s}),
    "tensor": lambda s: Holding(lambda own: own.scale, scale=torch.tensor(s)),
    "tensor in a dict": lambda s: Holding(lambda own: own.scales["x"], scales={"x": torch.tensor(s)}),
    "private": lambda s: Holding(lambda own: own._scale, _scale=s),
    "global": by_global,
    "helper module": by_helper,
    "forward hook": lambda s: hooked(s, before=False),
    "pre-hook": lambda s: hooked(s, before=True),
    "forward of an instance": patched,
    "gradient": turned,
}


@pytest.fixture(scope="module")
def digits():
    return el.load_data("digits", n=12)


def profiled(model, data, out=None, attacks=("fgsm",), **options):
    return el.profile(model, data, list(attacks), eps=0.2, out=out, ladder=False, **options)


def same(one, other):
    pd.testing.assert_frame_equal(one.frame(), other.frame(), rtol=1e-4, atol=1e-5)


def counted(model):
    """A list that grows by the size of every batch the model is given."""
    seen = []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    return seen


def manifests(out):
    return sorted(out.rglob("manifest.json"))


def as_before(out, **changes):
    """Make the manifests what an earlier version wrote."""
    for path in manifests(out):
        manifest = json.loads(path.read_text())
        del manifest["answers"], manifest["contents"]
        path.write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize("kind", KINDS)
def test_another_model_never_gets_this_ones_rows(kind, digits, tmp_path):
    for scale in (1.0, 0.5):
        kept = profiled(KINDS[kind](scale), digits, tmp_path)
        same(kept, profiled(KINDS[kind](scale), digits))
    assert len(manifests(tmp_path)) == 4
    first = KINDS[kind](1.0)
    seen = counted(first)
    same(profiled(first, digits, tmp_path), profiled(KINDS[kind](1.0), digits))
    assert sum(seen) <= 1 + 2 * sum(ANSWERING)  # whether it fits, and who it is: its rows are found again
    assert len(manifests(tmp_path)) == 4


def test_the_digest_alone_does_not_see_them():
    """What the answers are for; a kind that the digest sees needs none."""
    blind = {kind for kind, model in KINDS.items() if module_digest(model(1.0)) == module_digest(model(0.5))}
    assert blind == KINDS.keys() - {"float", "list", "tensor"}


def test_weights_that_change_between_two_calls(digits, tmp_path):
    model = Pre(lambda x: x)
    for _ in range(2):
        same(profiled(model, digits, tmp_path), profiled(model, digits))
        with torch.no_grad():
            model.net.fc2.weight.mul_(0.5)


def test_a_handful_of_forwards_and_nothing_twice(digits, tmp_path):
    model = Pre(lambda x: x)
    seen = counted(model)
    profiled(model, digits.subset(range(6)), tmp_path)
    assert seen == [1, *ANSWERING, 6, 6, 6]  # fits, who, clean, attack, adversarial
    seen.clear()
    profiled(model, digits.subset(range(6)), tmp_path)
    assert seen == [1, *ANSWERING]  # the rows that are checked are among those asked about
    seen.clear()
    profiled(model, digits, tmp_path)
    assert seen == [1, *ANSWERING, *ANSWERING, 6, 6, 6]  # it is asked about its own samples, and the manifest's
    seen.clear()
    profiled(model, digits)
    assert 5 not in seen  # in memory there is nothing to compare with


class Narrow(Pre):
    """A model on a device with room for so many images at once."""

    def __init__(self, room, scale=1.0):
        super().__init__(lambda x: x * scale)
        self._room = room

    def forward(self, x):
        if len(x) > self._room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x)


def test_a_device_without_room_is_asked_less(digits, tmp_path):
    for room, scale in ((64, 1.0), (2, 1.0), (2, 0.5), (64, 0.5)):
        same(profiled(Narrow(room, scale), digits, tmp_path), profiled(Narrow(64, scale), digits))
    assert len(manifests(tmp_path)) == 4
    with pytest.raises(el.RunError, match=r"out of memory with a batch of 2.*--device"):
        profiled(Narrow(1), digits, tmp_path)
    as_before(tmp_path)
    same(profiled(Narrow(2), digits, tmp_path), profiled(Narrow(64), digits))
    assert len(manifests(tmp_path)) == 4


def test_rounding_is_no_other_model(digits):
    """Batches of other sizes, other kernels, float64: far below the bounds."""
    model, double = el.load_model("digits-pgd"), el.load_model("digits-pgd").double()

    class Doubled(nn.Module):
        def forward(self, x):
            return double(x.double()).float()

    x = digits.images
    one = ask(model, x[:4], (0, 1, 2, 3))
    for other in (
        ask(Doubled(), x[:4], (0, 1, 2, 3)),
        ask(model, x, tuple(range(12))),
        ask(el.load_model("digits-pgd").to(memory_format=torch.channels_last), x[:4], (0, 1, 2, 3)),
    ):
        assert one.steady and other.steady and one.agree(other)
        apart = (one.logits - other.logits[[0, 1, 2, 3, -1]]).abs() / one.logits.abs().amax(1, keepdim=True)
        assert apart.max() < ROUNDING / 10
        gradients = (one.gradients - other.gradients[[0, 1, 2, 3, -1]]).abs() / one.gradients[:, :1]
        assert gradients.max() < KINKS / 10
    slightly = Pre(lambda x: x)
    slightly.net.fc2.weight.data.mul_(1.001)
    assert not one.agree(ask(slightly, x[:4], (0, 1, 2, 3)))


class TestRandomisedModels:
    """Their rows are never reused."""

    @pytest.mark.parametrize(
        "see",
        [
            lambda x: x + 0.1 * torch.rand_like(x),
            lambda x: x + 0.1 * torch.from_numpy(np.random.random_sample(x.shape)).float(),
            lambda x: x + 0.1 * torch.rand(x.shape, generator=torch.Generator().manual_seed(torch.seed() % 2**31)),
            lambda x: x - x.mean(dim=0, keepdim=True),  # draws nothing, but looks at the whole batch
        ],
        ids=["torch", "numpy", "a generator that no seed reaches", "batch statistics"],
    )
    def test_are_computed_anew_and_say_so(self, see, digits, tmp_path):
        for n in (8, 8, 12):
            model = Pre(see)
            seen = counted(model)
            record = profiled(model, digits.subset(range(n)), tmp_path)
            assert seen[-3:] == [n, n, n]
            assert "never reused" in " ".join(record.notes)
            assert len(manifests(tmp_path)) == 2
            rows = pd.concat(map(pd.read_parquet, tmp_path.glob("*/fgsm-*/part-*")))
            assert rows["marginal_clean"].tolist() == record["fgsm"].rows["marginal_clean"].tolist()

    def test_are_told_from_each_other(self, digits, tmp_path):
        for scale in (0.1, 0.3, 0.1):
            profiled(Pre(lambda x, s=scale: x + s * torch.rand_like(x)), digits, tmp_path)
        assert len(manifests(tmp_path)) == 4

    def test_rows_of_an_earlier_version_are_kept_and_not_used(self, digits, tmp_path):
        def noisy():
            return Pre(lambda x: x + 0.1 * torch.rand_like(x))

        profiled(noisy(), digits, tmp_path)
        as_before(tmp_path)
        before = {path: path.read_bytes() for path in tmp_path.rglob("part-*")}
        profiled(noisy(), digits, tmp_path)
        assert len(manifests(tmp_path)) == 4
        assert all(path.read_bytes() == content for path, content in before.items())

    def test_shares_do_not_replace_each_other(self, digits, tmp_path):
        for shard in ("1/2", "2/2"):
            profiled(Pre(lambda x: x + 0.1 * torch.rand_like(x)), digits, tmp_path / "shares", shard=shard)
        merged = merge([tmp_path / "shares"], tmp_path / "all")
        assert [run.rows for run in merged if run.rows == 12 and run.added] == [12, 12]


class TestRecordsOfEarlierVersions:
    """Their manifests keep no answers: their own clean energies tell."""

    def test_go_on_where_they_are(self, digits, tmp_path):
        whole = profiled(Pre(lambda x: x), digits)
        profiled(Pre(lambda x: x), digits.subset(range(6)), tmp_path)
        as_before(tmp_path)
        there = manifests(tmp_path)
        model = Pre(lambda x: x)
        seen = counted(model)
        same(profiled(model, digits, tmp_path), whole)
        assert seen[-3:] == [6, 6, 6]
        assert manifests(tmp_path) == there
        assert all("answers" in json.loads(path.read_text()) for path in there)  # from now on

    def test_are_not_another_models(self, digits, tmp_path):
        profiled(Pre(lambda x: x), digits.subset(range(6)), tmp_path)
        as_before(tmp_path)
        other = Pre(lambda x: x / 2)
        same(profiled(other, digits, tmp_path), profiled(other, digits))
        assert len(manifests(tmp_path)) == 4

    def test_are_readable_where_nothing_can_be_written(self, digits, tmp_path, monkeypatch):
        whole = profiled(Pre(lambda x: x), digits, tmp_path)
        as_before(tmp_path)

        def full(path, manifest):
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr("energylens.records.run_folder._write_manifest", full)
        same(profiled(Pre(lambda x: x), digits, tmp_path), whole)


def test_rows_whose_clean_energies_are_not_the_models_are_not_extended(digits, tmp_path):
    profiled(Pre(lambda x: x), digits.subset(range(6)), tmp_path)
    for path in tmp_path.rglob("part-*"):
        table = pd.read_parquet(path)
        table.assign(marginal_clean=table["marginal_clean"] + 0.01).to_parquet(path)
    model = Pre(lambda x: x)
    same(profiled(model, digits, tmp_path), profiled(model, digits))


def test_overwrite_makes_its_own_record_anew_and_no_others(digits, tmp_path):
    profiled(Pre(lambda x: x), digits, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("part-*")}
    for _ in range(2):
        other = Pre(lambda x: x / 2)
        same(profiled(other, digits, tmp_path, overwrite=True), profiled(other, digits))
    assert len(manifests(tmp_path)) == 4
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("change", [{"logits": ["a"]}, {"logits": []}, {"gradients": None}, {"indices": [0]}])
def test_answers_that_cannot_be_read_are_said(change, digits, tmp_path):
    profiled(Pre(lambda x: x), digits, tmp_path)
    for path in manifests(tmp_path):
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps(manifest | {"answers": manifest["answers"] | change}))
    with pytest.raises(el.RunError, match=r"answers in .*manifest\.json are not readable.*--overwrite"):
        profiled(Pre(lambda x: x), digits, tmp_path)
    profiled(Pre(lambda x: x), digits, tmp_path, overwrite=True)
    assert len(manifests(tmp_path)) == 2


def test_a_folder_begun_meanwhile_for_another_model_is_said(digits, tmp_path, monkeypatch):
    profiled(Pre(lambda x: x), digits, tmp_path)

    def unaware(common, *_, **__):
        return dict(common)

    monkeypatch.setattr("energylens.records.attack_run.own_identity", unaware)
    with pytest.raises(el.RunError, match="another process has just begun"):
        profiled(Pre(lambda x: x / 2), digits, tmp_path)


def test_blocks_images_and_trajectories_are_the_models_own(digits, tmp_path):
    """A model that changes between an interrupted AutoAttack and its resumption."""
    options = {"attacks": ("apgd-ce,steps=3,block=4", "pgd,steps=3"), "save_images": True, "trajectory": True}
    calls = []

    def stop(step):
        calls.append(step)
        if len(calls) == 5:  # natural, PGD and the first block of APGD are written
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        profiled(Pre(lambda x: x), digits, tmp_path, listener=stop, **options)
    assert any(tmp_path.glob("*/apgd-ce-*/part-*"))
    other = Pre(lambda x: x / 2)
    kept, alone = profiled(other, digits, tmp_path, **options), profiled(other, digits, **options)
    for one, two in zip(kept.attacks[1:], alone.attacks[1:], strict=True):
        assert torch.allclose(one.images()["x_adv"], two.images()["x_adv"], atol=1e-5)
        for name in ("marginal_path", "joint_path") if "marginal_path" in one.rows else ():
            for path, expected in zip(one.rows[name], two.rows[name], strict=True):
                np.testing.assert_allclose(path, expected, atol=1e-4)
    columns = ["attack", "marginal_clean", "marginal_adv"]
    pd.testing.assert_frame_equal(kept.frame()[columns], alone.frame()[columns], rtol=1e-4, atol=1e-5)


class TestShares:
    """Of two models of one digest, in one folder and out of several."""

    def models(self):
        return {"one": Pre(lambda x: x), "two": Pre(lambda x: x / 2)}

    def test_in_one_folder(self, digits, tmp_path):
        for shard in ("1/2", "2/2"):
            for model in self.models().values():
                profiled(model, digits, tmp_path, shard=shard)
        for model in self.models().values():
            seen = counted(model)
            same(profiled(model, digits, tmp_path), profiled(Pre(model.see), digits))
            assert max(seen) <= max(ANSWERING)

    def test_merged(self, digits, tmp_path):
        for name, model in self.models().items():
            for shard in ("1/2", "2/2"):
                profiled(model, digits, tmp_path / f"{name}{shard[0]}", shard=shard)
        # in an order that has each model come before the other somewhere
        merged = merge([tmp_path / name for name in ("one1", "two1", "two2", "one2")], tmp_path / "all")
        assert [run.added for run in merged] == [6] * 8
        assert len(manifests(tmp_path / "all")) == 4
        for model in self.models().values():
            seen = counted(model)
            same(profiled(model, digits, tmp_path / "all"), profiled(Pre(model.see), digits))
            assert max(seen) <= max(ANSWERING)

    def test_merged_without_answers(self, digits, tmp_path):
        """Rows of one sample with other clean energies are another model's."""
        for name, model in self.models().items():
            profiled(model, digits, tmp_path / name)
            as_before(tmp_path / name)
        merge([tmp_path / "one", tmp_path / "two"], tmp_path / "all")
        for model in self.models().values():
            same(profiled(model, digits, tmp_path / "all"), profiled(Pre(model.see), digits))


def pictures(folder):
    """Samples out of eight uncompressed pictures, whose size in bytes is that of any others."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{number}.bmp")
    return opened(folder)


def repaint(folder, number=3):
    """Another picture of equal size in the place of one, by default one that no model is asked about."""
    path = folder / f"{number}.bmp"
    size = path.stat().st_size
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(path)
    assert path.stat().st_size == size


def opened(folder):
    def grey(image):
        return to_tensor(image.convert("L"))

    paths = tuple(sorted(path.name for path in folder.glob("*.bmp")))
    files = Files(tuple("0123456789"), torch.arange(8), folder, paths, grey, "None")
    return Samples("mine", "all", torch.arange(8), files)


class TestImages:
    """Images that change in place never meet old rows."""

    @pytest.mark.parametrize("reopened", [True, False])
    @pytest.mark.parametrize("number", [0, 3])
    def test_of_files_of_equal_size(self, number, reopened, tmp_path):
        model, folder = el.load_model("digits-pgd"), tmp_path / "data"
        samples = pictures(folder)
        profiled(model, samples, tmp_path / "runs")
        repaint(folder, number)
        again = profiled(model, opened(folder) if reopened else samples, tmp_path / "runs")
        same(again, profiled(model, opened(folder)))
        natural = torch.full((1, 1, 8, 8), 200 / 255)
        with torch.no_grad():
            expected = el.marginal_energy(model(natural)).item()
        assert again["fgsm"].rows["marginal_clean"][number] == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("number", [0, 1])
    def test_of_a_users_tensor(self, number, digits, tmp_path):
        model, x = el.load_model("digits-pgd"), digits.images
        samples = Samples.from_tensors(x, digits.labels, digits.classes)
        profiled(model, samples, tmp_path)
        x[number].mul_(0.5)  # the samples hold it, not a copy
        same(profiled(model, samples, tmp_path), profiled(model, (x, digits.labels)))

    def test_records_named_by_sizes_go_on_where_they_are(self, tmp_path):
        """Until pictures change: an earlier version named them by their sizes."""
        model, folder, runs = el.load_model("digits-pgd"), tmp_path / "data", tmp_path / "runs"
        samples = pictures(folder)
        profiled(model, samples.subset(range(4)), runs)
        as_before(runs)
        for path in manifests(runs):
            manifest = json.loads(path.read_text())
            manifest["identity"]["dataset"]["digest"] = samples.former_digest
            path.write_text(json.dumps(manifest))
            name = path.parent.name.rpartition("-")[0]
            path.parent.rename(path.parent.with_name(f"{name}-{fingerprint(manifest['identity'])}"))
        there = manifests(runs)
        for _ in range(2):
            same(profiled(model, samples, runs), profiled(model, samples))
            assert manifests(runs) == there
        repaint(folder)
        same(profiled(model, opened(folder), runs), profiled(model, opened(folder)))
        assert len(manifests(runs)) == 4


def edited(path):
    path.write_bytes(b"two")


def replaced(path):
    path.with_name("b").write_bytes(b"two")
    path.with_name("b").replace(path)


class TestRememberedHashes:
    """``data/contents.py``: quick, and not to be fooled."""

    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(contents, "SETTLED_NS", -(10**9))  # as if what is written had long settled
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "a").write_bytes(b"one")
        return tmp_path / "data"

    def reads(self, folder, monkeypatch):
        """The hash of the file, and how often it was read for it."""
        calls = []
        digest = contents.hashlib.file_digest

        def counted(*args):
            calls.append(args)
            return digest(*args)

        with monkeypatch.context() as patch:
            patch.setattr(contents.hashlib, "file_digest", counted)
            (sha,) = contents.file_hashes(folder, ["a"])
        return sha, len(calls)

    def test_a_file_is_read_once(self, folder, monkeypatch):
        sha, first = self.reads(folder, monkeypatch)
        assert (first, self.reads(folder, monkeypatch)) == (1, (sha, 0))
        assert sha == contents.hashlib.sha256(b"one").hexdigest()

    @pytest.mark.parametrize("change", [edited, replaced])
    def test_equal_size_and_mtime_do_not_hide_a_change(self, change, folder, monkeypatch):
        path = folder / "a"
        self.reads(folder, monkeypatch)
        times = path.stat()
        change(path)
        contents.os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)
        assert self.reads(folder, monkeypatch) == (contents.hashlib.sha256(b"two").hexdigest(), 1)

    def test_what_has_just_been_written_is_not_remembered(self, folder, monkeypatch):
        monkeypatch.setattr(contents, "SETTLED_NS", 3 * 10**9)
        assert [self.reads(folder, monkeypatch)[1] for _ in range(2)] == [1, 1]

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": [[0], 1]}'])
    def test_a_damaged_memory_is_none(self, text, folder, monkeypatch):
        sha, _ = self.reads(folder, monkeypatch)
        (memory,) = (folder.parent / "cache").rglob("*.json")
        memory.write_text(text)
        assert self.reads(folder, monkeypatch) == (sha, 1)
        assert self.reads(folder, monkeypatch) == (sha, 0)

    def test_a_home_that_cannot_be_written_costs_time_alone(self, folder, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert [self.reads(folder, monkeypatch)[1] for _ in range(2)] == [1, 1]

    def test_nobodys_home_too(self, folder, monkeypatch):
        def homeless(path):
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(contents.Path, "expanduser", homeless)
        assert [self.reads(folder, monkeypatch)[1] for _ in range(2)] == [1, 1]

    def test_a_copy_of_the_data_is_the_same_data(self, tmp_path):
        samples = pictures(tmp_path / "one")
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        assert opened(tmp_path / "two").digest == samples.digest


FAST = {"n": 6, "steps": 3, "retained_variance": 5}


class TestGeneration:
    """Images, and what a process remembers of the training images, are the model's own."""

    @pytest.mark.parametrize(
        "own", [{}, {"features": "penultimate"}, {"guidance": "reference-energy"}], ids=["plain", "features", "guided"]
    )
    def test_another_model_makes_its_own_images(self, own, tmp_path, monkeypatch):
        for scale in (1.0, 0.5, 1.0):
            model = Pre(lambda x, s=scale: x * s)
            kept = el.generate(model, "digits", out=tmp_path, **FAST, **own)
            fresh = el.load_model("digits-pgd")
            with monkeypatch.context() as forgetful:
                for memory in ("starts._SEEN", "training_images._KNOWN"):
                    forgetful.setattr(f"energylens.generation.{memory}", {})
                alone = el.generate(Pre(lambda x, s=scale: x * s), "digits", **FAST, **own)
            with torch.no_grad():
                expected = el.marginal_energy(fresh(kept.images * scale))
            np.testing.assert_allclose(kept.rows["marginal"], expected, rtol=1e-4, atol=1e-4)
            assert torch.allclose(kept.images, alone.images, atol=1e-5)
            np.testing.assert_allclose(kept.reference, alone.reference, rtol=1e-5)
        assert len(manifests(tmp_path)) == 2

    def test_the_reference_is_the_models_own(self):
        """The mean E(x, y) of the training images, by hand."""
        train = el.load_data("digits", split="train")
        for scale in (1.0, 0.5):
            model = Pre(lambda x, s=scale: x * s)
            found = el.generate(model, "digits", guidance="reference-energy", **FAST).reference
            with torch.no_grad():
                joint = el.joint_energy(model(train.images), train.labels)
            expected = [joint[train.labels == label].mean().item() for label in range(10)]
            np.testing.assert_allclose(found, expected, rtol=1e-4)

    def test_images_of_earlier_versions_are_told_by_their_energies(self, tmp_path):
        first = el.generate(Pre(lambda x: x), "digits", out=tmp_path, **FAST)
        as_before(tmp_path)
        more = el.generate(Pre(lambda x: x), "digits", out=tmp_path, **FAST | {"n": 8})
        assert more.folder == first.folder and torch.equal(more.images[:6], first.images)
        as_before(tmp_path)
        assert el.generate(Pre(lambda x: x / 2), "digits", out=tmp_path, **FAST).folder != first.folder

    def test_a_randomised_model_makes_all_anew(self, tmp_path):
        folders = set()
        for _ in range(2):
            model = Pre(lambda x: x + 0.1 * torch.rand_like(x))
            seen = counted(model)
            made = el.generate(model, "digits", out=tmp_path, **FAST)
            folders.add(made.folder)
            assert seen.count(6) >= 3 and "never reused" in made.notes[0]
            assert len(list((made.folder / "images").iterdir())) == 6
        assert len(folders) == 1

    def test_statistics_of_real_images_are_the_feature_spaces_own(self, tmp_path):
        samples = el.load_data("digits", n=40)

        def space(scale):
            def of(images):
                features = images.float().flatten(1) * scale
                return features, features[:, :10]

            return Extractor("mine", "one digest", "none", {}, of)

        for scale in (1.0, 2.0, 1.0):
            found = reference(samples, space(scale), 16, tmp_path)
            expected = (to_bytes(samples.images).double().flatten(1) * scale).mean(dim=0)
            torch.testing.assert_close(found.mean.double(), expected, rtol=1e-5, atol=1e-5)
        assert len(list(tmp_path.rglob("*.safetensors"))) == 2

    def test_statistics_of_a_randomised_feature_space_are_not_kept(self, tmp_path):
        def of(images):
            features = images.float().flatten(1) + torch.rand(len(images), 64)
            return features, features[:, :10]

        reference(el.load_data("digits", n=40), Extractor("mine", "digest", "none", {}, of), 16, tmp_path)
        assert not list(tmp_path.rglob("*.safetensors"))


class TestTraining:
    """What goes on is the network, and the images, that the state was saved of."""

    settings = TrainSettings(
        method="standard", epochs=2, per_class=20, batch_size=20, val_fraction=0.0, eval_samples=20, eval_steps=1
    )

    def interrupted(self, out):
        def stop(progress):
            if progress.finished:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            loop.train(self.settings, out=out, device="cpu", listener=stop)
        (folder,) = (out / "train").iterdir()
        return folder

    @staticmethod
    def forget_answers(folder):
        """Make the state what an earlier version wrote."""
        state = torch.load(folder / "state.pt", weights_only=True)
        del state["answers"]
        torch.save(state, folder / "state.pt")

    @pytest.mark.parametrize("earlier", [False, True])
    def test_a_network_whose_code_has_changed_is_refused(self, earlier, tmp_path, monkeypatch):
        folder = self.interrupted(tmp_path)
        if earlier:
            self.forget_answers(folder)
        network = training_run._network

        def changed(*args):
            core = network(*args)
            core.register_forward_pre_hook(lambda module, inputs: (1 - inputs[0],))
            return core

        monkeypatch.setattr(training_run, "_network", changed)
        for named in (None, folder):
            with pytest.raises(el.RunError, match=r"answers otherwise than when it was saved.*--overwrite"):
                loop.train(self.settings, out=tmp_path, folder=named, device="cpu")
        assert len(loop.train(self.settings, out=tmp_path, device="cpu", overwrite=True).history) == 2

    def test_other_images_are_another_run_or_refused(self, tmp_path, monkeypatch):
        folder = self.interrupted(tmp_path)

        def darker(name, **asked):
            samples = el.load_data(name, **asked)
            return Samples.from_tensors(samples.images / 2, samples.labels, samples.classes, name)

        monkeypatch.setattr("energylens.training.data.load_data", darker)
        with pytest.raises(el.InputError, match=r"data\.t\w+ is"):
            loop.train(self.settings, out=tmp_path, folder=folder, device="cpu")
        assert loop.train(self.settings, out=tmp_path, device="cpu").folder != folder

    def test_a_state_of_an_earlier_version_goes_on(self, tmp_path):
        folder = self.interrupted(tmp_path)
        self.forget_answers(folder)
        assert len(loop.train(self.settings, out=tmp_path, device="cpu").history) == 2

    def test_who_is_left_out_is_the_reference_models_own_choice(self, monkeypatch, tmp_path):
        """By what it answers, not by its digest; a randomised one chooses under a fixed seed."""
        (tmp_path / "teacher_of_mine.py").write_text(
            "import torch, energylens as el\nfrom torch import nn\n\n"
            "SEE = lambda x: x\n\n"
            "class Seen(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.net = el.load_model('digits-pgd')\n\n"
            "    def forward(self, x):\n        return self.net(SEE(x))\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        import teacher_of_mine

        told = {}
        settings = TrainSettings(
            method="standard", omit="low-energy", omit_by="teacher_of_mine:Seen", omit_share=0.2
        ).resolved()
        for name, see in {
            "plain": lambda x: x,
            "halved": lambda x: x / 2,
            "noisy": lambda x: x + torch.rand_like(x),
            "again": lambda x: x + torch.rand_like(x),
        }.items():
            monkeypatch.setattr(teacher_of_mine, "SEE", see)
            told[name] = load_training_data(settings, None, torch.device("cpu")).digest["left_out"]
        assert len({left_out["by"] for left_out in told.values()}) == 1
        assert len({left_out["digest"] for left_out in told.values()}) == 3
        assert told["noisy"] == told["again"]
