"""Directions and their accuracy: by hand, against the plain solvers, and what is refused."""

import csv

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from diffusion_base.errors import UserError
from latent_directions.dataset import read_collection
from latent_directions.directions import read_directions
from latent_directions.fit import clustered_share, fit_all, main, separation, split
from latent_directions.solvers import FITS, gram, logistic, means, normals, svm
from tests.latent_directions.latents import unit, write_collection


def two_classes(n=60, size=700):
    """Pairs of one noise each, a little apart; in the form in which they lie on the disk."""
    generator = torch.Generator().manual_seed(0)
    noise, apart = torch.randn(n // 2, size, generator=generator), torch.randn(size, generator=generator)
    return torch.cat([noise, noise + 0.2 * apart]).mul(5).half(), np.arange(n) >= n // 2


def cosine(one, other):
    return float(np.dot(one, other) / (np.linalg.norm(one) * np.linalg.norm(other)))


def test_the_hyperplane_is_that_of_the_plain_solvers():
    """Of the same scikit-learn models on the latents themselves: normals, intercepts and decisions."""
    latents, positive = two_classes()
    x, products = latents.double().numpy(), gram(latents)
    for solve, plain in (
        (svm, SVC(kernel="linear")),
        (logistic, LogisticRegression(tol=1e-8, max_iter=10_000)),
    ):
        plain.fit(x, positive)
        found = solve(products, positive)
        normal = normals(latents, found.a[:, None])[:, 0].numpy()
        assert cosine(normal, plain.coef_[0]) >= 0.9999
        np.testing.assert_allclose(found.decide(products), plain.decision_function(x), atol=2e-2)
        assert found.norm(products) == pytest.approx(np.linalg.norm(plain.coef_[0]), rel=1e-2)


def test_means_by_hand():
    """Of (1, 0), (3, 0) and (0, 1), (0, 3) the means are (2, 0) and (0, 2): the difference (2, −2), and 0 half-way."""
    latents = torch.tensor([[1.0, 0], [3, 0], [0, 1], [0, 3]])
    found = means(gram(latents), np.array([True, True, False, False]))
    assert normals(latents, found.a[:, None])[:, 0].tolist() == [2, -2]
    at_points = found.decide((torch.tensor([[1.0, 1], [2, 0], [0, 2]]) @ latents.T).double().numpy())
    np.testing.assert_allclose(at_points, [0, 4, -4], atol=1e-12)


def test_gram_and_normals_in_blocks():
    """More numbers than a block, in half precision: as the whole product in double precision."""
    latents, a = torch.randn(5, 2500).half(), torch.randn(5, 2).double()
    np.testing.assert_allclose(gram(latents), (latents.double() @ latents.double().T).numpy(), rtol=1e-12)
    torch.testing.assert_close(normals(latents, a.numpy()), (latents.double().T @ a).float())


def test_directions_point_to_their_class(tmp_path):
    """Latents that are their noise and a class's own unit vector: the difference of means is that of these exactly, and
    the others are near it; of two classes one direction is the other's opposite."""
    data = read_collection([write_collection(tmp_path / "a")])
    directions, rows = fit_all(data)
    expected = (unit(1001) - unit(1000)).flatten()
    expected /= expected.norm()
    for step in data.steps:
        assert float(directions.find("female", "means", step).flatten() @ expected) > 0.999
        for fit in FITS:
            female, male = (directions.find(name, fit, step) for name in ("female", "male"))
            assert torch.equal(female, -male) and float(female.norm()) == pytest.approx(1, abs=1e-5)
            assert float(female.flatten() @ expected) > 0.8
    (late,) = [row for row in rows if (row.step, row.fit) == (5, "means")]
    assert late.accuracy == 1 and late.held_out == 24 and late.cosine > 0.8
    # 6 along each class's own unit vector: so far are the means apart along their difference, in the noise's units
    assert late.apart == pytest.approx(6 * float((unit(1001) - unit(1000)).norm()), rel=0.05)
    assert late.spread == pytest.approx(1, abs=0.3)
    (early,) = [row for row in rows if (row.step, row.fit) == (0, "svm")]
    assert early.accuracy < 0.9 and early.low < early.accuracy < early.high and early.chance == 0.5


def test_more_than_two_classes_are_each_fitted_against_the_rest(tmp_path):
    data = read_collection([write_collection(tmp_path / "a", ("light", "brown", "dark"))])
    directions, rows = fit_all(data)
    assert directions.classes == ["light", "brown", "dark"] and len(rows) == 3 * 2 * 3
    for k, name in enumerate(directions.classes):
        others = sum(unit(1000 + other) for other in range(3) if other != k) / 2
        expected = (unit(1000 + k) - others).flatten()
        found = directions.find(name, "means", 5).flatten()
        assert float(found @ expected / expected.norm()) > 0.999
    assert {round(row.chance, 6) for row in rows} == {round(2 / 3, 6)}


def test_the_split_by_seed_keeps_pairs_together():
    """Pairs of one noise, apart by nothing that they share: another's twin tells the class to who splits by picture."""
    seeds = np.tile(np.arange(20), 2)
    by_seed, first = split(seeds, 0), split(np.arange(40), 0)
    assert by_seed.sum() == first.sum() == 24
    assert (by_seed[:20] == by_seed[20:]).all() and not (first[:20] == first[20:]).all()


def test_an_interval_counts_seeds_not_pictures():
    """Two pictures of each of 10 seeds that agree: Wilson's interval of 10, as scipy has it, not of 20."""
    seeds, right = np.repeat(np.arange(10), 2), np.repeat(np.arange(10) < 7, 2)
    expected = binomtest(7, 10).proportion_ci(method="wilson")
    assert clustered_share(right, seeds) == pytest.approx((0.7, expected.low, expected.high), abs=1e-9)
    assert clustered_share([True, True], [1, 2])[2] == 1


def test_separation_by_hand():
    """3, 5 against 0, 2: means 4 and 1; deviations ±1 each, of four with two means taken: √(4/2)."""
    along = np.array([3.0, 5, 0, 2])
    assert separation(along, np.array([True, True, False, False])) == pytest.approx((3, 2**0.5))


def test_the_command(tmp_path, capsys):
    """Two folders joined; the table; our file and the authors'; a part of the latents."""
    one = write_collection(tmp_path / "male", ("male",), subjects=("pilot", "nurse"))
    two = write_collection(tmp_path / "female", ("female",), subjects=("pilot", "nurse"), first=1)
    out = tmp_path / "out"
    main([f"--train_data_dir={one}", str(two), f"--output_dir={out}"])
    printed = capsys.readouterr().out
    assert "held out by seed" in printed and str(out / "directions.safetensors") in printed
    assert len(list(csv.DictReader((out / "fits.csv").read_text().splitlines()))) == 2 * 3
    ours = read_directions(out)
    assert ours.base_hash == "base" and ours.num_inference_steps == 25 and len(ours.facts["fits"]) == 6
    assert ours.facts["pictures"] == {"male": 30, "female": 30}
    for fit in FITS:
        array = np.load(out / fit / "female_1.npy")
        assert array.shape == (1, 4, 8, 8) and np.array_equal(array[0], ours.find("female", fit, 5).numpy())
    flags = ["--subjects", "pilot", "--max_train_samples", "9"]
    main([f"--train_data_dir={one}", str(two), f"--output_dir={tmp_path / 'part'}", *flags])
    assert read_directions(tmp_path / "part").facts["pictures"] == {"male": 9, "female": 9}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"base": "other"}, "b has latents of another base .other. than .*a .base.; collect both alike"),
        ({"shape": (4, 4, 4)}, r"b has latents of another shape \(\(4, 4, 4\)\) than .*\(\(4, 8, 8\)\)"),
        ({"steps": (0, 1)}, r"b has latents of other steps \(\(0, 1\)\)"),
        ({"classes": ("dark",), "count": 3}, "the class dark has 3 latents, and 4 are needed at least"),
    ],
)
def test_latents_that_do_not_belong_together(tmp_path, second, message):
    folders = [write_collection(tmp_path / "a"), write_collection(tmp_path / "b", **second)]
    with pytest.raises(UserError, match=message):
        read_collection(folders)


def test_bad_collections(tmp_path):
    with pytest.raises(UserError, match="holds no finished collection .manifest.jsonl.: latent_directions.collect"):
        read_collection([tmp_path])
    alone = write_collection(tmp_path / "alone", ("male",))
    with pytest.raises(UserError, match="all latents are of one class, male, and nothing separates it from itself"):
        read_collection([alone])
    data = read_collection([write_collection(tmp_path / "a", subjects=("pilot",))])
    with pytest.raises(UserError, match="no latents of 'nurse'; there are pilot"):
        data.part(["nurse"])
    (tmp_path / "a" / "latents" / "all.safetensors").write_bytes(b"half a shard")
    with pytest.raises(UserError, match="the latents of male_0 are missing; start collect.py again"):
        read_collection([tmp_path / "a"])
    few = read_collection([write_collection(tmp_path / "few", count=4, classes=("a", "b"))])
    same = [write_collection(tmp_path / name, (name,)) for name in ("x", "y")]
    with pytest.raises(UserError, match="at step 0 the latents of y are those of the others"):
        fit_all(read_collection(same))
    one_seed = few.part().records
    for record in one_seed:
        record["seed"] = 0
    with pytest.raises(UserError, match="the class a has too few latents to be on both sides of the split"):
        fit_all(few)


def test_the_noise_of_pairs_is_left_out(tmp_path):
    """All classes have the same, so there is nothing to separate; of other seeds it is fitted like any step."""
    paired = read_collection([write_collection(tmp_path / "a", steps=(-1, 5))])
    assert {row.step for row in fit_all(paired)[1]} == {5}
    folders = [write_collection(tmp_path / n, (n,), steps=(-1, 5), seed=50 * k, first=k) for k, n in enumerate("bc")]
    assert {row.step for row in fit_all(read_collection(folders))[1]} == {-1, 5}
