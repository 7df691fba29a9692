"""What a record holds on request: the adversarial images, and the energies of every step."""

import numpy as np
import pandas as pd
import pytest
import torch

import energylens as el
from energylens.figures.energy_steps import energy_against_steps
from energylens.records.record import COLUMNS
from energylens.tables.adversarial_images import adversarial_images


@pytest.fixture(scope="module")
def robust():
    return el.load_model("digits-pgd")


@pytest.fixture(scope="module")
def digits():
    return el.load_data("digits", n=30)


class TestImages:
    def test_they_are_the_images_that_were_measured(self, robust, digits, tmp_path):
        record = el.profile(robust, digits, ["pgd"], save_images=True, out=tmp_path, batch_size=7)
        expected = el.attack("pgd", robust, digits.images, digits.labels, eps=0.2)
        kept = record["pgd"].images()["x_adv"]
        torch.testing.assert_close(kept, expected, atol=1e-6, rtol=0)
        again = el.profile(robust, digits, ["pgd"], save_images=True, out=tmp_path)
        assert torch.equal(again["pgd"].images()["x_adv"], kept)  # from the disk, to the bit
        some = el.profile(robust, digits.subset([21, 2]), ["pgd"], save_images=True, out=tmp_path)
        assert torch.equal(some["pgd"].images()["x_adv"], kept[[2, 21]])

    def test_rounding_to_8_bits_is_reported(self, robust, digits):
        record = el.profile(robust, digits, ["cw"], save_images=True)
        x_adv, rows = record["cw"].images()["x_adv"], record["cw"].rows
        with torch.no_grad():
            rounded = robust((x_adv * 255).round() / 255).argmax(dim=1)
        assert rows["pred_uint8"].tolist() == rounded.tolist()
        right = (rounded == digits.labels).float().mean().item()
        assert record.as_numbers()[1]["accuracy_uint8"] == pytest.approx(right)
        assert rows["pred_uint8"].tolist() != rows["pred_adv"].tolist()  # C&W stops right behind the boundary

    def test_autoattacks_are_always_kept_others_only_on_request(self, robust, digits):
        record = el.profile(robust, digits.subset(range(6)), ["apgd-ensemble", "fgsm"])
        assert record["apgd-ensemble"].images()["x_adv"].shape == (6, 1, 8, 8)
        with pytest.raises(el.InputError, match="--save-images"):
            record["fgsm"].images()
        assert list(record["fgsm"].rows) == list(COLUMNS)

    def test_damaged_or_lost_images_are_said(self, robust, digits, tmp_path):
        def run():
            return el.profile(robust, digits, ["fgsm"], save_images=True, out=tmp_path)["fgsm"].images()

        run()
        (path,) = tmp_path.rglob("images-*.safetensors")
        path.write_bytes(b"half")
        with pytest.raises(el.RunError, match=r"images-.* is damaged.*part-00000000"):
            run()
        path.unlink()
        with pytest.raises(el.RunError, match="no image of sample 0"):
            run()

    def test_the_gallery_shows_samples_that_fell(self, robust, digits):
        record = el.profile(robust, digits, ["pgd"], save_images=True)
        table = adversarial_images(record, record["pgd"], count=4)
        assert len(table) == 4 and (table["label"] == table["pred_clean"]).all()
        assert (table["pred_adv"] != table["label"]).all()
        sample, position = table.iloc[0], int(table["index"].iloc[0])
        assert np.array_equal(sample["natural"], digits.images[position].numpy())
        amplified = 0.5 + table.attrs["gain"] * (sample["adversarial"] - sample["natural"])
        np.testing.assert_allclose(sample["difference"], amplified, atol=1e-6)
        assert 0 <= np.stack(table["difference"]).min() < np.stack(table["difference"]).max() <= 1 + 1e-6


class TestTrajectories:
    def test_they_are_the_energies_of_the_iterates(self, robust, digits):
        """The t-th iterate of five steps is what t steps end with."""
        record = el.profile(robust, digits, ["pgd,steps=5"], trajectory=True)
        paths = np.stack(record["pgd,steps=5"].rows["marginal_path"].to_list())
        assert paths.shape == (30, 6)
        for steps in (1, 4, 5):
            x_adv = el.attack("pgd", robust, digits.images, digits.labels, eps=0.2, steps=steps)
            with torch.no_grad():
                expected = el.marginal_energy(robust(x_adv))
            np.testing.assert_allclose(paths[:, steps], expected, atol=1e-4)

    def test_of_restarts_the_one_that_was_kept(self, robust, digits):
        rows = el.profile(robust, digits, ["pgd,restarts=3,steps=3"], trajectory=True).attacks[1].rows
        assert [path[-1] for path in rows["joint_path"]] == rows["joint_adv"].tolist()
        with_one = el.profile(robust, digits, ["pgd,steps=3"], trajectory=True).attacks[1].rows
        other = [not np.array_equal(a, b) for a, b in zip(rows["joint_path"], with_one["joint_path"], strict=True)]
        assert any(other) and not all(other)

    def test_they_survive_the_disk_and_change_nothing_else(self, robust, digits, tmp_path):
        plain = el.profile(robust, digits, ["he-pgd", "cw"]).frame()
        for _ in range(2):
            traced = el.profile(robust, digits, ["he-pgd", "cw"], trajectory=True, out=tmp_path, batch_size=8).frame()
            pd.testing.assert_frame_equal(traced[plain.columns], plain, rtol=1e-5, atol=1e-5)
        assert traced.loc[traced["attack"] == "cw", "marginal_path"].isna().all()

    def test_the_table_of_the_figure(self, robust, digits):
        record = el.profile(robust, digits, ["pgd,steps=3"], trajectory=True)
        table = energy_against_steps(record)
        assert table.groupby("energy").size().to_dict() == {"joint": 4, "marginal": 4}
        last = table[(table["energy"] == "joint") & (table["step"] == 3)].iloc[0]
        assert last["mean"] == pytest.approx(record.as_numbers()[1]["joint_mean"], abs=1e-5)
        assert last["natural"] == pytest.approx(record.as_numbers()[0]["joint_mean"], abs=1e-5)
        assert (table["low"] <= table["high"]).all()
        with pytest.raises(el.InputError, match="--trajectory"):
            energy_against_steps(el.profile(robust, digits, ["cw"]))
        with pytest.raises(el.InputError, match="take one that iterates"):
            el.profile(robust, digits, ["cw"], trajectory=True)


class TestTwoProcessesOnOneFolder:
    def test_the_second_is_told(self, robust, digits, tmp_path):
        el.profile(robust, digits.subset([0]), ["fgsm"], out=tmp_path)
        (folder,) = tmp_path.glob("*/fgsm-*")

        def meddle(step):
            if step.attack == "fgsm" and step.done < step.total:
                with pytest.raises(el.RunError, match=r"process \d+ on .* is filling .*--shard 1/2"):
                    el.profile(robust, digits, ["fgsm"], out=tmp_path)
                with pytest.raises(el.RunError, match="is filling"):
                    el.profile(robust, digits, ["fgsm"], out=tmp_path, overwrite=True)

        el.profile(robust, digits, ["fgsm"], out=tmp_path, listener=meddle, batch_size=8)
        assert len(pd.concat(map(pd.read_parquet, folder.glob("part-*.parquet")))) == 30

    def test_another_attack_of_the_same_model_is_free_to_run(self, robust, digits, tmp_path):
        def other(step):
            el.profile(robust, digits, ["rs-fgsm"], out=tmp_path)

        record = el.profile(robust, digits, ["fgsm"], out=tmp_path, listener=other)
        assert len(record) == 30

    def test_no_row_is_on_the_disk_twice(self, robust, digits, tmp_path):
        """Two processes that do not know of each other's shares: what the second finds written it leaves out."""

        def meddle(step):
            if step.attack == "fgsm" and step.done < step.total:
                el.profile(robust, digits, ["fgsm"], out=tmp_path, shard="1/1", batch_size=7, save_images=True)

        options = {"save_images": True, "ladder": False}
        record = el.profile(robust, digits, ["fgsm"], out=tmp_path, listener=meddle, batch_size=8, **options)
        for folder in (path.parent for path in tmp_path.rglob("manifest.json")):
            rows = pd.concat(map(pd.read_parquet, folder.glob("part-*.parquet")))
            assert sorted(rows["index"]) == list(range(30))
        assert record["fgsm"].images()["x_adv"].shape == (30, 1, 8, 8)

    def test_rows_of_other_software_are_said(self, robust, digits, tmp_path):
        el.profile(robust, digits, ["fgsm"], out=tmp_path)
        (path,) = tmp_path.glob("*/fgsm-*/manifest.json")
        path.write_text(path.read_text().replace('"torch": "', '"torch": "0.'))
        (note,) = el.profile(robust, digits, ["fgsm"], out=tmp_path).notes
        assert "fgsm" in note and "torch 0." in note and "--overwrite" in note
