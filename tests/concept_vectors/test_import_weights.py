"""The published weights: a file of the released shape, read by weights_only, as the first implementation uses it."""

import json
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from concept_vectors.import_weights import KEY, main
from concept_vectors.vectors import FILE, check_fits, read_vectors
from diffusion_base.errors import UserError
from tests.tiny import tiny_pipeline

RELEASED = ("female", "male", "young", "old", "whiterace", "blackrace", "asianrace", "antisexual")


def write_published(folder, columns=8, rows=1280 * 8 * 8, names=RELEASED):
    """A pair of files as published, and the layer whose weight it is."""
    layer = torch.nn.Linear(columns, rows, bias=False)
    torch.save({KEY: layer.weight.detach()}, folder / "unet.pth")
    (folder / "concept_dict.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    return [str(folder / "unet.pth"), str(folder / "concept_dict.json")], layer


@pytest.mark.parametrize("columns", [8, 100])
def test_the_released_file(tmp_path, columns):
    """Each tensor is what the first implementation adds: the layer of a one-hot vector, viewed as 1280×8×8."""
    files, layer = write_published(tmp_path, columns)
    file = main([*files, str(tmp_path / "out")])
    assert file == tmp_path / "out" / FILE
    tensors = load_file(file)
    assert set(tensors) == set(RELEASED)
    for number, name in enumerate(RELEASED):
        with torch.no_grad():
            published = layer(torch.eye(columns)[[number]]).view(1, 1280, 8, 8)[0]
        assert torch.equal(tensors[name], published)
    vectors = read_vectors(tmp_path / "out")
    assert (vectors.base_hash, vectors.cross_attention_dim) == (None, 768)
    with pytest.raises(UserError, match="has the shape 1280×8×8, but this base's bottleneck has 16×4×4"):
        check_fits(vectors, tiny_pipeline())


@pytest.mark.parametrize(("text_width", "fits"), [(768, True), (1024, False)])
def test_it_applies_to_stable_diffusion_1(tmp_path, text_width, fits):
    """On a UNet of full size without weights. That of 2.x has the same mid block, and is told by its text's width."""
    files, _ = write_published(tmp_path)
    vectors = read_vectors(main([*files, str(tmp_path / "out")]))
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=text_width)
    if fits:
        check_fits(vectors, SimpleNamespace(unet=unet))
    else:
        with pytest.raises(UserError, match="text conditioning 768 wide instead of 1024"):
            check_fits(vectors, SimpleNamespace(unet=unet))


def test_out_may_be_the_file_itself(tmp_path):
    files, _ = write_published(tmp_path)
    assert main([*files, str(tmp_path / "some" / "name.safetensors")]).is_file()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fc1.weight": torch.zeros(2)}, "has no controlnet.fc1.weight, where the vectors are; there is: fc1.weight"),
        ({}, "there is: nothing"),
        ([1, 2], "a state dict, names and tensors, is needed"),
        ({KEY: torch.zeros(1280 * 6, 8)}, r"has the shape \(7680, 8\), not \(1280·h·h, columns\)"),
        ({KEY: torch.zeros(1280)}, r"has the shape \(1280,\)"),
        ({KEY: torch.tensor(1.0)}, r"has the shape \(\)"),
        ({KEY: torch.full((1280 * 64, 8), torch.nan)}, "the column of 'female' has numbers that are not finite"),
        ({KEY: torch.zeros(1280 * 64, 4)}, "'whiterace' has the column 4, but .* has 4 columns"),
        (object(), "no weights that can be read without running code"),
    ],
)
def test_other_files(tmp_path, content, message):
    files, _ = write_published(tmp_path)
    torch.save(content, tmp_path / "unet.pth")
    with pytest.raises(UserError, match=message):
        main([*files, str(tmp_path / "out")])


def test_missing_and_damaged_files(tmp_path):
    files, _ = write_published(tmp_path)
    with pytest.raises(UserError, match="nowhere.pth: there is no such file"):
        main([str(tmp_path / "nowhere.pth"), files[1], "out"])
    with pytest.raises(UserError, match="there is no such file"):
        main([files[0], str(tmp_path / "nowhere.json"), "out"])
    for damage in (b"hello", b"", (tmp_path / "unet.pth").read_bytes()[:5000]):
        (tmp_path / "unet.pth").write_bytes(damage)
        with pytest.raises(UserError, match="no weights that can be read without running code"):
            main([*files, "out"])


def test_help_names_no_preset(capsys):
    """There is nothing here that a preset could set."""
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out
    assert "WEIGHTS CONCEPTS OUT" in printed and "--config" not in printed
