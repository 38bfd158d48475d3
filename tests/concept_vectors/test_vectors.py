"""Files of vectors, sums by name, shapes: what is written and read, and what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from concept_vectors.inference import ConceptVector
from concept_vectors.responsible_text import ResponsibleText
from concept_vectors.vectors import (
    FILE,
    METADATA,
    ConceptVectors,
    check_fits,
    load_vectors,
    mid_block_shape,
    read_vectors,
)
from diffusion_base.combinations import parse_combination
from diffusion_base.errors import UserError
from diffusion_base.identity import learned_elsewhere
from diffusion_base.intervention import Context, load_intervention
from tests.concept_vectors.vector_files import random_vectors, write_vectors
from tests.tiny import tiny_pipeline


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("woman", {"woman": 1.0}),
        ("0.7*woman + 1.0*anti_bloody", {"woman": 0.7, "anti_bloody": 1.0}),
        ("0.7*woman 1.0*anti_bloody", {"woman": 0.7, "anti_bloody": 1.0}),  # a plus in the query of a spec
        ("anti-sexual+.5 * old", {"anti-sexual": 1.0, "old": 0.5}),
        ("woman - 0.5*man", {"woman": 1.0, "man": -0.5}),
        ("woman + woman", {"woman": 2.0}),
        ("5_o_clock_shadow", {"5_o_clock_shadow": 1.0}),
    ],
)
def test_combinations(text, weights):
    assert parse_combination(text) == weights


@pytest.mark.parametrize("text", ["", "0.7*", "*woman", "much*woman", "2*-woman", "woman,man", "+"])
def test_what_is_no_combination(text):
    with pytest.raises(UserError, match="is not a concept or weight"):
        parse_combination(text)


def test_a_sum_by_hand():
    """0.5 · (2, 4) − 1 · (1, 0) = (0, 2); a number a channel is the same at all places."""
    tensors = {"a": torch.tensor([2.0, 4.0]), "b": torch.tensor([1.0, 0.0]), "c": torch.ones(2, 1, 3)}
    vectors = ConceptVectors(tensors)
    assert vectors.combined({"a": 0.5, "b": -1.0}).tolist() == [[[0.0]], [[2.0]]]
    assert vectors.combined({"a": 1.0, "c": 1.0}).tolist() == [[[3.0, 3.0, 3.0]], [[5.0, 5.0, 5.0]]]


@pytest.mark.parametrize("per_channel", [False, True])
def test_written_and_read_again(pipeline, tmp_path, per_channel):
    written = random_vectors(pipeline, per_channel=per_channel)
    written.save(tmp_path / FILE)
    for path in (tmp_path, tmp_path / FILE):
        read = load_vectors(path, pipeline)
        assert read.tensors.keys() == written.tensors.keys()
        assert all(torch.equal(read.tensors[name], tensor) for name, tensor in written.tensors.items())
        assert replace(read, tensors={}, source="") == replace(written, tensors={}, source="")


def test_a_vector_of_another_base_is_refused(pipeline, tmp_path):
    folder = write_vectors(tmp_path, pipeline)
    with pytest.raises(UserError, match=r"was learned on another base \(\w{16}, not \w{16}\)"):
        load_vectors(folder, tiny_pipeline(seed=1))


def test_a_vector_of_another_base_is_taken_where_that_is_meant(pipeline, tmp_path):
    """On a fine-tune, say; whatever is made with it says so, in each member of a group and of what words ask for."""
    folder, other = write_vectors(tmp_path, pipeline), tiny_pipeline(seed=1)
    warning = {"warning": f"learned on another base, {random_vectors(pipeline).base_hash}"}
    told = load_intervention(f"concept_vectors:{folder}?concept=woman&other_base=true", other).describe()
    own = load_intervention(f"concept_vectors:{folder}?concept=woman&other_base=true", pipeline).describe()
    assert told == own | warning and "warning" not in own
    group = load_intervention(f"concept_vectors:{folder}?group=man,woman&other_base=true", other).describe()
    assert warning.items() <= group["group"][0].items()
    assert warning.items() <= ConceptVector(folder, "man", pipeline=other, other_base=True).describe().items()
    words = ResponsibleText(folder, pipeline=other, other_base=True).describe()
    assert warning.items() <= words["responsible_text"][0]["group"][0].items()
    wrong = replace(random_vectors(pipeline), cross_attention_dim=768)
    wrong.save(folder / FILE)
    with pytest.raises(UserError, match="another kind of base"):
        load_vectors(folder, other, other_base=True)


def test_a_vector_of_another_shape_is_refused(pipeline):
    wrong = replace(random_vectors(pipeline), tensors={"woman": torch.zeros(1280, 8, 8)})
    with pytest.raises(UserError, match="'woman' has the shape 1280×8×8, but this base's bottleneck has 16×4×4"):
        check_fits(wrong, pipeline)


def test_a_vector_of_unknown_origin_fits_by_shape_and_kind(pipeline):
    imported = replace(random_vectors(pipeline), base_hash=None)
    check_fits(imported, tiny_pipeline(seed=1))
    assert learned_elsewhere(None, tiny_pipeline(seed=1), "", False) == {}
    with pytest.raises(UserError, match="text conditioning 768 wide instead of 16"):
        check_fits(replace(imported, cross_attention_dim=768), pipeline)


def test_unknown_concept_suggests_the_nearest(pipeline):
    with pytest.raises(UserError, match="no concept .womann.; did you mean .woman.. There are: anti-bloody, man"):
        random_vectors(pipeline).combined({"womann": 1.0})
    with pytest.raises(UserError, match="no concept 'WOMAN'; did you mean 'woman'"):
        random_vectors(pipeline).combined({"WOMAN": 1.0})
    with pytest.raises(UserError, match="no concept 'xyz'; There are"):
        random_vectors(pipeline).combined({"xyz": 1.0})


def test_weights_that_make_no_picture(pipeline):
    with pytest.raises(UserError, match="the weight of woman -inf: it must be a number from -100 to 100"):
        random_vectors(pipeline).combined(parse_combination(f"man - {'9' * 400}*woman"))


def test_what_is_no_file_of_vectors(pipeline, tmp_path):
    with pytest.raises(UserError, match="no concept vectors are here"):
        read_vectors(tmp_path)
    write_vectors(tmp_path, pipeline)
    file = tmp_path / FILE
    save_file(load_file(file), tmp_path / "plain.safetensors")  # without our metadata
    (tmp_path / "cut.safetensors").write_bytes(file.read_bytes()[:-50])
    for name in ("plain", "cut"):
        with pytest.raises(UserError, match=f"{name}.safetensors is not a file of concept vectors, or a damaged one"):
            read_vectors(tmp_path / f"{name}.safetensors")
    save_file(load_file(file), tmp_path / "list.safetensors", metadata={METADATA: "[]"})
    with pytest.raises(UserError, match="not a file of concept vectors, or a damaged one"):
        read_vectors(tmp_path / "list.safetensors")
    (tmp_path / "unet.pth").write_bytes(b"PK")
    with pytest.raises(UserError, match="concept_vectors.import_weights reads the published weights"):
        read_vectors(tmp_path / "unet.pth")
    ConceptVectors({}).save(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="holds no concepts"):
        read_vectors(tmp_path / "none.safetensors")
    random_vectors(pipeline, scale=float("inf")).save(file)
    with pytest.raises(UserError, match="no vector of finite numbers"):
        read_vectors(file)


FULL_SIZE = {
    "Stable Diffusion 1.5": ({"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}, (1280, 8, 8)),
    "Stable Diffusion 2.1": (
        {
            "sample_size": 96,
            "cross_attention_dim": 1024,
            "attention_head_dim": (5, 10, 20, 20),
            "use_linear_projection": True,
        },
        (1280, 12, 12),
    ),
    "Stable Diffusion XL": (
        {
            "sample_size": 128,
            "cross_attention_dim": 2048,
            "attention_head_dim": (5, 10, 20),
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        (1280, 32, 32),
    ),
}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_hooks_and_shapes_at_full_size(name):
    """Guided passes through the full architecture, without weights: the vectors, of both forms, fit where they go."""
    config, expected = FULL_SIZE[name]
    seen = []
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
        unet.mid_block.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape)))
        size = config["sample_size"]
        added = {"text_embeds": torch.empty(2, 1280), "time_ids": torch.empty(2, 6)}
        inputs = torch.empty(2, 4, size, size), torch.empty(2), torch.empty(2, 77, config["cross_attention_dim"])
        pipeline = SimpleNamespace(unet=unet, device="meta", scheduler=DDPMScheduler())
        for shape in (expected, expected[:1]):
            vectors = ConceptVectors({"woman": torch.empty(shape)}, None, config["cross_attention_dim"])
            check_fits(vectors, pipeline)
            context = Context(pipeline, ["a nurse"], [""], [0], [{}], guided=True, timestep=torch.empty(()))
            with ConceptVector(vectors, "woman", pipeline=pipeline).hook(context, unet):
                assert unet(*inputs, added_cond_kwargs=added).sample.shape == inputs[0].shape
    assert seen == [(2, *expected)] * 2 and mid_block_shape(unet) == expected


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_shapes_of_tiny_models(kind):
    assert mid_block_shape(tiny_pipeline(kind).unet) == (16, 4, 4)


def test_a_base_without_a_mid_block(pipeline):
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        mid_block_type=None,
        norm_num_groups=4,
    )
    with pytest.raises(UserError, match="has no mid block"):
        mid_block_shape(unet)


def test_a_base_without_a_unet_is_refused_in_one_sentence(tmp_path):
    random_vectors(tiny_pipeline()).save(tmp_path / "concept_vectors.safetensors")
    with pytest.raises(
        UserError, match="a UNet's mid block, and this base's denoiser is a transformer, which has none"
    ):
        load_vectors(tmp_path, tiny_pipeline("sd3"))
