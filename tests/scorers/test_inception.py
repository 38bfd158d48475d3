import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from diffusion_base.errors import UserError
from scorers.inception import BLOCKS, Block, InceptionFeatures, InceptionV3, Pool, pool, prepare, resize


@pytest.fixture(scope="module")
def extractor():
    torch.manual_seed(0)
    return InceptionFeatures(InceptionV3())


def test_names_and_shapes_are_those_of_the_published_file(extractor):
    """94 convolutions without bias, each with batch normalisation, and one linear layer."""
    weights = extractor.model.state_dict()
    convolutions = [name for name in weights if name.endswith(".conv.weight")]
    assert len(convolutions) == 94
    assert len([name for name in weights if "num_batches" not in name]) == 94 * 5 + 2
    expected = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Conv2d_2b_3x3.bn.running_var": (64,),
        "Conv2d_4a_3x3.conv.weight": (192, 80, 3, 3),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_5c.branch_pool.conv.weight": (64, 256, 1, 1),
        "Mixed_6a.branch3x3dbl_3.bn.running_mean": (96,),
        "Mixed_6b.branch7x7_2.conv.weight": (128, 128, 1, 7),
        "Mixed_6d.branch7x7dbl_4.conv.weight": (160, 160, 7, 1),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7b.branch3x3_2b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch3x3dbl_3a.conv.weight": (384, 384, 1, 3),
        "Mixed_7c.branch_pool.conv.weight": (192, 2048, 1, 1),
        "fc.weight": (1008, 2048),
        "fc.bias": (1008,),
    }
    assert {name: tuple(weights[name].shape) for name in expected} == expected
    parameters = sum(weight.numel() for weight in extractor.model.parameters())
    assert parameters == 23_834_568 + 8 * 2049  # torchvision's inception_v3 without its second head has 1000 classes


def test_features_and_logits(extractor):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 64, 3), dtype=np.uint8))
    features = extractor.features(prepare(image)[None])
    assert features.shape == (1, 2048) and features.dtype == torch.float32 and features.isfinite().all()
    linear = extractor.model.fc
    torch.testing.assert_close(
        extractor.logits(features), (linear(features) - linear.bias).detach(), rtol=1e-4, atol=1e-5
    )
    assert extractor.logits(features.double()).dtype == torch.float64


def test_resize_is_tensorflows():
    """2 → 4: places 0, ½, 1, 1½, and the last lies beyond the last pixel: 0, 5, 10, 10. 3 → 2: places 0 and 1½, that is
    between the second and third pixel. Both axes alike."""
    row = torch.tensor([[0.0, 10.0]])
    assert resize(row, 1, 4).tolist() == [[0, 5, 10, 10]]
    assert resize(row.T, 4, 1).tolist() == [[0], [5], [10], [10]]
    assert resize(torch.tensor([[[0.0, 4.0, 8.0]]]), 1, 2).tolist() == [[[0, 6]]]
    grid = torch.tensor([[0.0, 2.0], [4.0, 6.0]])
    assert resize(grid, 4, 4)[1].tolist() == [2, 3, 4, 4]  # half-way between the rows: 2, 4 → 2, 3, 4, 4


def test_pictures_are_scaled_to_minus_one_and_one():
    assert torch.equal(prepare(Image.new("RGB", (7, 5), (0, 128, 255)))[:, 9, 9], torch.tensor([-1, 0, 127 / 128]))


def test_pooling_leaves_the_padding_out():
    """Over ones, an average that counted the padding would give 4/9 in a corner."""
    ones = torch.ones(1, 1, 4, 4)
    assert torch.equal(pool(ones, Pool("average")), ones)
    assert torch.equal(pool(-ones, Pool("maximum")), -ones)  # nor does a maximum see padded zeros
    kinds = {name: part.kind for name, (_, branches) in BLOCKS.items() for part in branches[-1] if type(part) is Pool}
    assert [name for name, kind in kinds.items() if kind == "maximum"] == ["Mixed_6a", "Mixed_7a", "Mixed_7c"]


def test_a_block_is_its_branches_side_by_side():
    torch.manual_seed(0)
    block, x = Block(*BLOCKS["Mixed_7b"]).eval(), torch.randn(1, 1280, 4, 4)
    forked = block.branch3x3_1(x)
    expected = torch.cat([block.branch3x3_2a(forked), block.branch3x3_2b(forked)], 1)
    with torch.no_grad():
        assert torch.equal(block(x)[:, 320 : 320 + 768], expected)
        assert torch.equal(block(x)[:, :320], block.branch1x1(x))


@pytest.fixture(scope="module")
def weights(extractor):
    """As the published file has them: without counters."""
    return {name: w for name, w in extractor.model.state_dict().items() if "num_batches" not in name}


@pytest.mark.parametrize("name", ["inception.pth", "inception.safetensors"])
def test_weights_from_a_file(extractor, weights, tmp_path, name):
    save = save_file if name.endswith("safetensors") else torch.save
    save(weights, tmp_path / name)
    loaded = InceptionFeatures.from_file(tmp_path / name)
    assert loaded.version == extractor.version and not loaded.model.training


def test_other_files_are_refused_in_one_sentence(weights, tmp_path):
    def message(content):
        torch.save(content, tmp_path / "file.pth")
        with pytest.raises(UserError) as error:
            InceptionFeatures.from_file(tmp_path / "file.pth")
        assert "\n" not in str(error.value) and "file.pth" in str(error.value)
        return str(error.value)

    assert "fc.weight is (1000, 2048) there and must be (1008, 2048)" in message(
        weights | {"fc.weight": torch.zeros(1000, 2048)}
    )
    assert "fc.bias is missing" in message({name: w for name, w in weights.items() if name != "fc.bias"})
    assert "AuxLogits.fc.bias is (3,) there and must not be" in message(weights | {"AuxLogits.fc.bias": torch.zeros(3)})
    assert "state dict" in message([1, 2])
    (tmp_path / "text.pth").write_text("nothing")
    with pytest.raises(UserError, match="no weights that can be read"):
        InceptionFeatures.from_file(tmp_path / "text.pth")
    with pytest.raises(UserError, match="no such file"):
        InceptionFeatures.from_file(tmp_path / "nowhere.pth")
