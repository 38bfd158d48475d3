from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from diffusion_base.data import load_image
from diffusion_base.errors import UserError
from diffusion_base.identity import content_keys
from scorers.features import FeatureCache, extract
from tests.forked import in_two_processes


def middle(image):
    """(3, 2, 2): the picture's first pixels."""
    return torch.from_numpy(np.array(image, dtype=np.float32))[:2, :2].permute(2, 0, 1)


class Mean:
    """An extractor that counts what it is given, and may fail at a batch."""

    def __init__(self, name="mean", version="1", fails_at=None):
        self.name, self.version, self.prepare = name, version, middle
        self.seen, self.batches, self.fails_at = 0, 0, fails_at

    def features(self, pixels):
        if self.batches == self.fails_at:
            raise KeyboardInterrupt
        self.batches += 1
        self.seen += len(pixels)
        return pixels.mean((2, 3))


@pytest.fixture
def pictures(tmp_path):
    """Seven pictures, by key."""
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{i}.png" for i in range(7)]
    for file in files:
        Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)).save(file)
    return dict(zip(content_keys(files), files, strict=True))


def quick(pictures, extractors, folder, batch_size=3, num_workers=0):
    return extract(pictures, extractors, folder, batch_size=batch_size, num_workers=num_workers, progress=False)


def expected(pictures):
    return {key: middle(load_image(file)).mean((1, 2)) for key, file in pictures.items()}


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for key in wanted:
        torch.testing.assert_close(found[key], wanted[key], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("batch_size", "num_workers"), [(3, 0), (100, 0), (2, 2)])
def test_features_of_every_picture(pictures, tmp_path, batch_size, num_workers):
    found = quick(pictures, [Mean()], tmp_path / "features", batch_size, num_workers)
    same(found[0], expected(pictures))


def test_a_second_run_reads_and_runs_no_network(pictures, tmp_path):
    first = quick(pictures, [Mean()], tmp_path / "features")
    never = Mean(fails_at=0)
    again = quick(dict(reversed(pictures.items())), [never], tmp_path / "features")
    assert all(torch.equal(first[0][key], again[0][key]) for key in pictures)


def test_only_what_is_new_is_computed(pictures, tmp_path):
    """A moved picture is known, a changed one and another version of the network are not."""
    quick(pictures, [Mean()], tmp_path / "features")
    (key, file), *_ = pictures.items()
    moved = file.rename(tmp_path / "moved.png")
    Image.new("RGB", (4, 4), (9, 9, 9)).save(file)
    changed = pictures | {key: moved} | dict(zip(content_keys([file]), [file], strict=True))
    one, two, other = Mean(), Mean(version="2"), Mean("other")
    found = quick(changed, [one, two, other], tmp_path / "features")
    assert (one.seen, two.seen, other.seen) == (1, 8, 8)
    for features in found:
        same(features, expected(changed))


def test_equal_pictures_count_once(pictures, tmp_path):
    files = [*pictures.values()]
    (tmp_path / "copy.png").write_bytes(files[0].read_bytes())
    keys = content_keys([*files, tmp_path / "copy.png"])
    assert keys[0] == keys[-1] and len(set(keys)) == 7


def test_an_interrupted_run_goes_on(pictures, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        quick(pictures, [Mean(fails_at=2)], tmp_path / "features")
    rest = Mean()
    found = quick(pictures, [rest], tmp_path / "features")
    assert rest.seen == 1  # two batches of three were kept
    same(found[0], expected(pictures))


@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: data[:-1] + b"\x55", lambda data: b"nothing"])
def test_damaged_files_are_computed_again(pictures, tmp_path, damage):
    quick(pictures, [Mean()], tmp_path / "features")
    shard = sorted((tmp_path / "features" / "mean-1").glob("*.safetensors"))[0]
    lost = len(load_file(shard)["features"])
    shard.write_bytes(damage(shard.read_bytes()))
    again = Mean()
    same(quick(pictures, [again], tmp_path / "features")[0], expected(pictures))
    assert again.seen == lost
    quick(pictures, [Mean(fails_at=0)], tmp_path / "features")


def test_a_cache_leaves_out_what_was_not_asked_for(pictures, tmp_path):
    quick(pictures, [Mean()], tmp_path / "features")
    key, *_ = pictures
    assert FeatureCache(tmp_path / "features" / "mean-1").read([key, "unknown"]).keys() == {key}
    assert FeatureCache(tmp_path / "nowhere").read([key]) == {}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_picture_is_named_in_one_sentence(pictures, tmp_path, num_workers):
    file = tmp_path / "3.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(UserError) as error:
        quick(pictures, [Mean()], tmp_path / "features", num_workers=num_workers)
    assert str(error.value).startswith(f"{file}: not a picture, or a damaged one") and "\n" not in str(error.value)
    with pytest.raises(UserError, match="nowhere.png: there is no such picture"):
        content_keys([tmp_path / "nowhere.png"])


def test_a_folder_that_takes_nothing(pictures, tmp_path):
    (tmp_path / "features").write_text("a file")
    with pytest.raises(UserError, match="can't be written"):
        quick(pictures, [Mean()], tmp_path / "features")


def share(folder: Path) -> None:
    files = sorted(folder.glob("*.png"))
    extractor = Mean()
    pictures = dict(zip(content_keys(files), files, strict=True))
    (found,) = extract(pictures, [extractor], folder / "two", batch_size=2, num_workers=0)
    assert len(found) == 7 and extractor.seen in (3, 4), extractor.seen


def test_two_processes_share_the_work(pictures, tmp_path):
    one = quick(pictures, [Mean()], tmp_path / "one", batch_size=2)
    in_two_processes(share, tmp_path)
    two = FeatureCache(tmp_path / "two" / "mean-1").read(pictures)
    assert all(torch.equal(one[0][key], two[key]) for key in pictures)
