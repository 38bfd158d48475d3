"""HPS, PickScore, ImageReward and the aesthetic predictor, against independent passes of their published layouts."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import normalize
from transformers import BertTokenizer, CLIPImageProcessorPil

from diffusion_base.errors import UserError
from scorers.clip import CLIPScorer
from scorers.hps import RELEASES
from scorers.protocols import PreferenceScorer, load_judge
from tests.scorers.source_blip import random_image_reward, source_reward
from tests.scorers.source_clip import QuickGELU, SourceCLIP
from tests.scorers.tiny_clip import noise_pictures, tiny_clip_folder
from tests.tiny import tiny_tokenizer

IMAGES = noise_pictures()
PROMPTS = ["a cat", "a much longer prompt about two dogs", "a cat", "x", "a prompt " * 20]

# v1: heads 64 wide and quick GELU; v2: 80 wide in the vision tower, and GELU
SIZES = {
    "hps-v1": {"vision_heads": 2, "vision_width": 128, "text_heads": 3, "text_width": 192, "activation": QuickGELU},
    "hps-v2": {"vision_heads": 2, "vision_width": 160, "text_heads": 1, "text_width": 64, "activation": nn.GELU},
}


@pytest.fixture(autouse=True)
def small_releases(monkeypatch):
    """Vision towers of these widths, too, are read as the published ones."""
    for width, published in ((128, 1024), (160, 1280), (16, 1024)):
        monkeypatch.setitem(RELEASES, width, RELEASES[published])


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    tiny_tokenizer().save_pretrained(folder)
    return folder


def source_clip(release):
    torch.manual_seed(0)
    return SourceCLIP(**SIZES[release], words=len(tiny_tokenizer())).eval().requires_grad_(False)


def source_scores(source):
    """Cosines by the source's own forward pass; texts padded with 0, as open_clip does."""
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    pixels = processor(IMAGES, return_tensors="pt").pixel_values
    tokens = tiny_tokenizer()(PROMPTS, truncation=True)["input_ids"]
    ids = torch.tensor([row + [0] * (77 - len(row)) for row in tokens])
    return (normalize(source.encode_image(pixels), dim=-1) * normalize(source.encode_text(ids), dim=-1)).sum(-1)


@pytest.mark.parametrize("release", ["hps-v1", "hps-v2"])
@pytest.mark.parametrize("half", [False, True])
def test_hps_equals_its_published_layout(tmp_path, words, release, half):
    """To 1e-5, from a file as published (under "state_dict"), and from one in half precision as OpenAI's."""
    source = source_clip(release)
    if half:
        source = source.half().float()
    state = {name: tensor.half() if half else tensor for name, tensor in source.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "hpc.pt")
    judge = load_judge(f"scorers:hps?weights={tmp_path}/hpc.pt&tokenizer={words}&batch_size=2")
    torch.testing.assert_close(judge.preference(IMAGES, PROMPTS), source_scores(source), rtol=0, atol=1e-5)
    assert judge.name == release and isinstance(judge, PreferenceScorer)


def test_a_clip_that_is_no_hps(tmp_path, words, monkeypatch):
    monkeypatch.delitem(RELEASES, 160)
    torch.save(source_clip("hps-v2").state_dict(), tmp_path / "other.pt")
    with pytest.raises(
        UserError, match="other.pt is not an HPS: its vision tower is 160 wide, not 1024 .hps-v1. or 1280"
    ):
        load_judge(f"scorers:hps?weights={tmp_path}/other.pt&tokenizer={words}")


def test_hps_from_safetensors_and_with_buffers(tmp_path, words):
    source = source_clip("hps-v1")
    state = source.state_dict()
    torch.save(state, tmp_path / "plain.pt")
    save_file({**state, "attn_mask": torch.zeros(77, 77)}, tmp_path / "hps.safetensors")
    spec = f"scorers:hps?tokenizer={words}&weights={tmp_path}"
    assert load_judge(f"{spec}/plain.pt").version == load_judge(f"{spec}/hps.safetensors").version


def test_preference_depends_neither_on_batch_size_nor_on_order(tmp_path, words):
    torch.save(source_clip("hps-v1").state_dict(), tmp_path / "hps.pt")
    one, many = (
        load_judge(f"scorers:hps?weights={tmp_path}/hps.pt&tokenizer={words}&batch_size={size}") for size in (1, 64)
    )
    scores = many.preference(IMAGES, PROMPTS)
    torch.testing.assert_close(one.preference(IMAGES, PROMPTS), scores, rtol=0, atol=1e-5)
    torch.testing.assert_close(many.preference(IMAGES[::-1], PROMPTS[::-1]).flip(0), scores, rtol=0, atol=1e-5)
    assert one.version == many.version


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("visual.proj"), "'visual.proj' is missing or odd"),
        (lambda state: state.pop("transformer.resblocks.1.ln_2.bias"), r"text_model.encoder.layers.1.* is missing"),
        (lambda state: state.update({"visual.ln_post.bias": torch.zeros(3)}), r"post_layernorm.bias is \(3,\)"),
        (lambda state: state.update({"classifier": torch.zeros(3)}), "classifier is .3,., where nothing of that name"),
    ],
)
def test_wrong_and_incomplete_files(tmp_path, words, change, message):
    state = source_clip("hps-v1").state_dict()
    change(state)
    torch.save(state, tmp_path / "hps.pt")
    with pytest.raises(UserError, match=f"hps.pt is not a CLIP in OpenAI's or open_clip's layout: .*{message}"):
        load_judge(f"scorers:hps?weights={tmp_path}/hps.pt&tokenizer={words}")


def test_files_that_are_no_weights(tmp_path, words):
    spec = f"scorers:hps?tokenizer={words}&weights={tmp_path}"
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    torch.save({"epoch": 3}, tmp_path / "epoch.pt")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "linear.pt")
    with pytest.raises(UserError, match="linear.pt is not an HPS: it has no visual.conv1.weight"):
        load_judge(f"{spec}/linear.pt")
    for name in ("text.pt", "text.safetensors"):
        with pytest.raises(UserError, match=f"{name}: no weights that can be read") as error:
            load_judge(f"{spec}/{name}")
        assert "weights_only" not in str(error.value)  # torch's advice is to run the file's code
    with pytest.raises(UserError, match="epoch.pt: a state dict, names and tensors, is needed"):
        load_judge(f"{spec}/epoch.pt")
    with pytest.raises(UserError, match="nowhere.pt: there is no such file"):
        load_judge(f"{spec}/nowhere.pt")
    torch.save(source_clip("hps-v1").state_dict(), tmp_path / "hps.pt")
    with pytest.raises(UserError, match="no CLIP tokenizer at '/nowhere/words'"):
        load_judge(f"scorers:hps?weights={tmp_path}/hps.pt&tokenizer=/nowhere/words")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_clip_folder(tmp_path_factory.mktemp("clip") / "tiny-clip")


def test_pickscore_is_the_models_own_logit(clip):
    """CLIPModel's logits_per_image of a picture and its own prompt."""
    judge = load_judge(f"scorers:pickscore?model={clip}&tokenizer={clip}&batch_size=2")
    own = CLIPScorer.from_pretrained(str(clip))
    for image, prompt, score in zip(IMAGES, PROMPTS, judge.preference(IMAGES, PROMPTS), strict=True):
        text = own.tokenizer([prompt], truncation=True, return_tensors="pt")
        pixels = own.image_processor(image, return_tensors="pt").pixel_values
        with torch.no_grad():
            expected = own.model(**text, pixel_values=pixels).logits_per_image[0, 0]
        torch.testing.assert_close(score, expected, rtol=1e-5, atol=1e-5)
    assert judge.name == "pickscore"


def test_hps_from_a_folder(clip):
    judge = load_judge(f"scorers:hps?weights={clip}&tokenizer={clip}")
    pickscore = load_judge(f"scorers:pickscore?model={clip}&tokenizer={clip}")
    torch.testing.assert_close(
        judge.preference(IMAGES, PROMPTS) * pickscore.scale, pickscore.preference(IMAGES, PROMPTS)
    )


def test_pickscores_bad_folders(tmp_path, clip):
    with pytest.raises(UserError, match="no CLIP at '/nowhere/pickscore'"):
        load_judge(f"scorers:pickscore?model=/nowhere/pickscore&tokenizer={clip}")


def aesthetic_head(width=16):
    torch.manual_seed(1)
    sizes, numbers = (width, 1024, 128, 64, 16, 1), (0, 2, 4, 6, 7)
    layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)]
    state = {f"layers.{n}.{part}": getattr(layer, part).detach() for n, layer in zip(numbers, layers, strict=True)
             for part in ("weight", "bias")}  # fmt: skip
    return nn.Sequential(*layers).requires_grad_(False), state


def test_aesthetic_is_its_head_over_the_unit_embedding(tmp_path, clip):
    head, state = aesthetic_head()
    torch.save(state, tmp_path / "head.pth")
    judge = load_judge(f"scorers:aesthetic?weights={tmp_path}/head.pth&model={clip}")
    features = judge.clip.image_features(IMAGES)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(len(IMAGES)))
    torch.testing.assert_close(judge.preference(IMAGES, PROMPTS), head(features)[:, 0], rtol=0, atol=1e-5)
    torch.save(state | {"layers.7.bias": torch.ones(1)}, tmp_path / "head.pth")
    assert load_judge(f"scorers:aesthetic?weights={tmp_path}/head.pth&model={clip}").version != judge.version


def test_linear_aesthetic_by_hand(tmp_path, clip):
    """A head that adds up the sixteen components and 5."""
    torch.save({"weight": torch.ones(1, 16), "bias": torch.tensor([5.0])}, tmp_path / "linear.pth")
    judge = load_judge(f"scorers:aesthetic?weights={tmp_path}/linear.pth&model={clip}")
    expected = judge.clip.image_features(IMAGES).sum(-1) + 5
    torch.testing.assert_close(judge.preference(IMAGES, PROMPTS), expected)


def test_aesthetic_of_another_width(tmp_path, clip):
    torch.save(aesthetic_head(24)[1], tmp_path / "head.pth")
    with pytest.raises(
        UserError, match=r"for CLIP embeddings of width 16: 0.weight is \(1024, 24\), where \(1024, 16\)"
    ):
        load_judge(f"scorers:aesthetic?weights={tmp_path}/head.pth&model={clip}")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    BertTokenizer(vocab={token: i for i, token in enumerate(tokens)}).save_pretrained(folder)
    return folder


@pytest.fixture
def reward(tmp_path):
    """A random ImageReward under its published names: two layers each, widths 128 and 64, a vocabulary of 57."""
    state = random_image_reward(words=57)
    torch.save(state, tmp_path / "ImageReward.pt")
    return state, tmp_path / "ImageReward.pt"


def test_image_reward_equals_its_published_layout(reward, bert):
    """To 1e-5; each prompt alone in the independent pass, all of them padded together in the judge's."""
    state, file = reward
    judge = load_judge(f"scorers:image_reward?weights={file}&tokenizer={bert}&batch_size=3")
    scores = judge.preference(IMAGES, PROMPTS)
    tokenizer = BertTokenizer.from_pretrained(bert)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    for image, prompt, score in zip(IMAGES, PROMPTS, scores, strict=True):
        ids = torch.tensor([tokenizer(prompt, truncation=True, max_length=35)["input_ids"]])
        raw = source_reward(state, processor(image, return_tensors="pt").pixel_values, ids)
        expected = (raw - 0.16717362830052426) / 1.0333394966054072
        torch.testing.assert_close(score, expected, rtol=1e-5, atol=1e-5)
    assert scores.std() > 1e-4 and judge.name == "image-reward"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blip.visual_encoder.blocks.1.attn.qkv.bias", "encoder.layers.1.self_attn.qkv.bias is missing"),
        (
            "blip.text_encoder.encoder.layer.0.crossattention.self.key.weight",
            "crossattention.self.key.weight is missing",
        ),
        ("blip.text_encoder.embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight' is missing or odd"),
        ("mlp.layers.7.bias", "7.bias is missing"),
    ],
)
def test_an_incomplete_image_reward(reward, bert, name, message):
    state, file = reward
    torch.save({key: tensor for key, tensor in state.items() if key != name}, file)
    with pytest.raises(UserError, match=f"ImageReward.pt is not an ImageReward: .*{message}"):
        load_judge(f"scorers:image_reward?weights={file}&tokenizer={bert}")


def test_image_reward_needs_berts_words(reward):
    with pytest.raises(UserError, match="no BERT tokenizer at '/nowhere/bert'"):
        load_judge(f"scorers:image_reward?weights={reward[1]}&tokenizer=/nowhere/bert")
