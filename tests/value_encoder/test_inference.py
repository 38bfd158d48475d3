"""ValueToken: which pictures change, by what, and what is refused."""

import json
from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import CLIPTextModel

from diffusion_base.conditioning import encode_prompts
from diffusion_base.errors import UserError
from diffusion_base.generation import generate
from diffusion_base.identity import base_hash
from diffusion_base.intervention import Context, load_intervention
from tests.tiny import tiny_pipeline
from value_encoder.adaptive import AdaptiveValue
from value_encoder.inference import ValueToken, value_tokens

VALUE = "gender equality"
PROMPTS = ["a nurse", "a cat"]


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def encoder():
    return tiny_pipeline(seed=1).text_encoder  # same architecture, other weights: as if trained


def edited(pipeline, token, prompts=PROMPTS, seeds=None, records=None):
    """Both branches' embeddings before and after the token, (B, T, D) each."""
    count = len(prompts)
    context = Context(
        pipeline, prompts, [""] * count, seeds or list(range(count)), records or [{}] * count, guided=True
    )
    before = encode_prompts(pipeline, prompts), encode_prompts(pipeline, [""] * count)
    after = token.edit_prompts(context, *before)
    return [branch.embeds for branch in (*before, *after)]


def pixels(pipeline, interventions, records=None):
    images = generate(pipeline, PROMPTS, [3, 4], interventions, num_inference_steps=2, records=records, progress=False)
    return np.stack([np.asarray(image) for image in images])


def test_the_token_depends_on_prompt_and_value(pipeline, encoder):
    """A wrong end-of-text id would pool the first token or the value's words alone."""
    tokens = value_tokens(
        encoder, pipeline.tokenizer, [VALUE, VALUE, "racial equality"], ["a nurse", "a cat", "a nurse"]
    )
    assert tokens.shape == (3, 16)
    assert (tokens[0] - tokens[1]).abs().max() > 1e-2
    assert (tokens[0] - tokens[2]).abs().max() > 1e-2


def test_token_in_front_and_77_positions(pipeline, encoder):
    plain, negative, with_token, negative_after = edited(pipeline, ValueToken(encoder, VALUE, pipeline=pipeline))
    assert with_token.shape == (2, 77, 16)
    assert torch.equal(with_token[:, 0], value_tokens(encoder, pipeline.tokenizer, [VALUE] * 2, PROMPTS))
    assert torch.equal(with_token[:, 1:], plain[:, :76])
    assert torch.equal(negative, negative_after)


def test_unpadded_as_first_published(pipeline, encoder):
    """Against the published recipe spelled out: token + the prompt's own tokens; the negative prompt as long."""
    plain, negative, with_token, negative_after = edited(
        pipeline, ValueToken(encoder, VALUE, pipeline=pipeline, unpadded=True), prompts=["a nurse"]
    )
    with torch.no_grad():
        ids = pipeline.tokenizer("a nurse", return_tensors="pt").input_ids  # 9 tokens: 7 letters, start and end
        prompt = pipeline.text_encoder(ids).last_hidden_state
        valued = pipeline.tokenizer(f"{VALUE}, a nurse", return_tensors="pt").input_ids
        expected = torch.cat([encoder(valued).pooler_output[:, None], prompt], dim=1)
    assert with_token.shape == negative_after.shape == (1, ids.shape[1] + 1, 16)
    torch.testing.assert_close(with_token, expected)
    assert torch.equal(negative_after, negative[:, : with_token.shape[1]])


def test_unpadded_needs_one_length(pipeline, encoder):
    with pytest.raises(UserError, match="batch_size 1"):
        edited(pipeline, ValueToken(encoder, VALUE, pipeline=pipeline, unpadded=True))


def test_not_applicable_is_the_base_bit_for_bit(pipeline, encoder):
    base = pixels(pipeline, [])
    token = ValueToken(encoder, VALUE, pipeline=pipeline)
    for nothing in (None, "", "not applicable"):
        some = pixels(pipeline, [token], records=[{}, {"value": nothing}])
        assert not np.array_equal(some[0], base[0])
        assert np.array_equal(some[1], base[1])
    assert np.array_equal(pixels(pipeline, [ValueToken(encoder, None, pipeline=pipeline)]), base)
    assert np.array_equal(pixels(pipeline, [ValueToken(encoder, VALUE, pipeline=pipeline, strength=0)]), base)


def test_a_record_names_its_value(pipeline, encoder):
    other = edited(pipeline, ValueToken(encoder, VALUE, pipeline=pipeline), records=[{"value": "racial equality"}, {}])[
        2
    ]
    expected = value_tokens(encoder, pipeline.tokenizer, ["racial equality", VALUE], PROMPTS)
    assert torch.equal(other[:, 0], expected)


def test_a_value_that_is_not_a_text(pipeline, encoder):
    with pytest.raises(UserError, match="value of a picture is 5"):
        edited(pipeline, ValueToken(encoder, VALUE, pipeline=pipeline), records=[{}, {"value": 5}])


def test_half_of_the_pictures_by_their_own_seeds(pipeline, encoder):
    token = ValueToken(encoder, VALUE, pipeline=pipeline, probability=0.5)
    drawn = [token.applied_value({}, seed) is not None for seed in range(400)]
    assert drawn == [token.applied_value({}, seed) is not None for seed in range(400)]
    assert 160 <= sum(drawn) <= 240  # 4 standard deviations
    assert token.applied_value({"value_applied": True}, 0) == token.applied_value({"value_applied": True}, 1) == VALUE
    assert token.applied_value({"value_applied": False}, 0) is token.applied_value({"value_applied": False}, 1) is None


def test_strength_moves_the_token_from_the_start_of_text(pipeline, encoder):
    plain, _, full, _ = edited(pipeline, ValueToken(encoder, VALUE, pipeline=pipeline))
    half = edited(pipeline, ValueToken(encoder, VALUE, pipeline=pipeline, strength=0.5))[2]
    torch.testing.assert_close(half[:, 0], (plain[:, 0] + full[:, 0]) / 2)
    assert torch.equal(half[:, 1:], full[:, 1:])


def test_two_tokens_on_one_picture(pipeline, encoder):
    gender, race = (ValueToken(encoder, value, pipeline=pipeline) for value in (VALUE, "racial equality"))
    both = pixels(pipeline, [gender, race])
    assert not np.array_equal(both, pixels(pipeline, [gender])) and not np.array_equal(both, pixels(pipeline, [race]))


@pytest.mark.parametrize("where", [".", "value_encoder", "checkpoint-2/value_encoder"])
def test_loads_a_folder_by_the_command_line(pipeline, encoder, tmp_path, where):
    encoder.save_pretrained(tmp_path / where)
    path = (tmp_path / where).parent if where.startswith("checkpoint") else tmp_path
    token = load_intervention(f"value_encoder:{path}?value={VALUE}&probability=0.5&unpadded=true", pipeline)
    assert (token.value, token.probability, token.unpadded, token.strength) == (VALUE, 0.5, True, 1.0)
    assert token.describe()["weights"] == ValueToken(encoder, VALUE, pipeline=pipeline).describe()["weights"]


def test_description_follows_the_weights(pipeline, encoder):
    changed = deepcopy(encoder)
    changed.final_layer_norm.bias.data[0] += 1
    one, other = (ValueToken(each, VALUE, pipeline=pipeline).describe() for each in (encoder, changed))
    assert one["weights"] != other["weights"]


@pytest.mark.parametrize("options", ["strength=nan", "strength=1e6", "probability=nan", "probability=1.5"])
def test_numbers_that_make_no_picture(pipeline, encoder, tmp_path, options):
    name, _, number = options.partition("=")
    with pytest.raises(UserError, match=f"{name}.* must (be a number from -100 to 100|lie between 0 and 1)"):
        ValueToken(encoder, VALUE, pipeline=pipeline, **{name: float(number)})
    encoder.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"{name}.*(finite number|from -100 to 100|between 0 and 1)"):
        load_intervention(f"value_encoder:{tmp_path}?value={VALUE}&{options}", pipeline)


def test_no_encoder_there(pipeline, tmp_path):
    with pytest.raises(UserError, match="no value encoder can be loaded"):
        ValueToken(tmp_path, VALUE, pipeline=pipeline)


def test_encoder_of_another_base(pipeline, encoder):
    config = deepcopy(encoder.config)
    config.hidden_size = 32
    with pytest.raises(UserError, match="does not fit this base"):
        ValueToken(CLIPTextModel(config), VALUE, pipeline=pipeline)


@pytest.mark.parametrize("adapts", [False, True])
def test_encoder_trained_on_another_base_of_the_same_widths(pipeline, encoder, adapts, look_up):
    make = partial(AdaptiveValue, look_up) if adapts else ValueToken
    encoder, other = deepcopy(encoder), tiny_pipeline(seed=1)
    encoder.config.base_hash = base_hash(pipeline)
    own = make(encoder, pipeline=pipeline).describe()
    with pytest.raises(UserError, match=r"the value encoder was learned on another base \(\w{16}, not \w{16}\)"):
        make(encoder, pipeline=other)
    warning = {"warning": f"learned on another base, {base_hash(pipeline)}"}
    assert make(encoder, pipeline=other, other_base=True).describe() == own | warning and "warning" not in own
    del encoder.config.base_hash  # of an encoder that doesn't say it, as published and as older versions wrote it
    make(encoder, pipeline=other)


@pytest.mark.parametrize(("where", "record"), [("run", "training.json"), ("run/checkpoint-2", "state.json")])
def test_encoder_of_a_former_version_is_of_the_base_that_its_run_names(pipeline, encoder, tmp_path, where, record):
    folder, own = tmp_path / where, {"base_hash": base_hash(pipeline)}
    encoder.save_pretrained(folder / "value_encoder")
    (folder / record).write_text(json.dumps(own if record == "training.json" else {"run": own}))
    for path in (folder, folder / "value_encoder"):
        ValueToken(path, pipeline=pipeline)
        with pytest.raises(UserError, match=f"the value encoder was learned on another base .{own['base_hash']}, not"):
            ValueToken(path, pipeline=tiny_pipeline(seed=1))
    (folder / record).write_text("[]")
    with pytest.raises(UserError, match=f"{record} is damaged, so what .*value_encoder was trained on is not known"):
        ValueToken(folder, pipeline=pipeline)


def test_bases_with_several_text_encoders_are_refused(encoder):
    with pytest.raises(UserError, match="one CLIP text encoder, and Stable Diffusion 3 and 3.5 has several: use a"):
        ValueToken(encoder, VALUE, pipeline=tiny_pipeline("sd3"))
    with pytest.raises(UserError, match="XL has several"):
        ValueToken(encoder, VALUE, pipeline=tiny_pipeline("sdxl"))


class LookUp:
    """A retriever that knows a few prompts; it notes what it was asked."""

    def __init__(self, **known):
        self.known, self.asked = known, []

    def retrieve_many(self, prompts):
        self.asked += prompts
        known = [self.known[prompt.split()[-1]] for prompt in prompts]
        return [SimpleNamespace(statement=(*all_, None)[0], kind=kind, statements=all_) for *all_, kind in known]

    def describe(self):
        return {"method": "look-up"}


@pytest.fixture
def look_up():
    return LookUp(
        nurse=("gender equality", "bias"),
        cat=(None,),
        axe=("bloody considered inappropriate", "harm"),
        horde=("bloody considered inappropriate", "zombie considered inappropriate", "harm"),
        doctor=("gender equality", "racial equality", "bias"),
    )


def test_adaptive_each_prompt_has_its_own_value(pipeline, encoder, look_up):
    prompts = ["a nurse", "a cat", "an axe"]
    plain, _, adapted, _ = edited(pipeline, AdaptiveValue(look_up, encoder, pipeline=pipeline, probability=1), prompts)
    values = ["gender equality", "bloody considered inappropriate"]
    expected = value_tokens(encoder, pipeline.tokenizer, values, ["a nurse", "an axe"])
    assert torch.equal(adapted[[0, 2], 0], expected) and torch.equal(adapted[1], plain[1])


def test_adaptive_every_harm_has_its_token(pipeline, encoder, look_up):
    """In their order, and one picture's number of tokens is nothing to another's; of several biases the first alone."""
    prompts = ["a horde", "an axe", "a cat", "a doctor"]
    plain, _, adapted, _ = edited(pipeline, AdaptiveValue(look_up, encoder, pipeline=pipeline, probability=1), prompts)
    bloody, zombie = "bloody considered inappropriate", "zombie considered inappropriate"
    expected = value_tokens(encoder, pipeline.tokenizer, [bloody, zombie], ["a horde"] * 2)
    assert torch.allclose(adapted[0, :2], expected, atol=1e-6) and torch.equal(adapted[0, 2:], plain[0, :75])
    assert torch.equal(adapted[1, 1:], plain[1, :76]) and torch.equal(adapted[2], plain[2])
    gender = value_tokens(encoder, pipeline.tokenizer, ["gender equality"], ["a doctor"])
    assert torch.allclose(adapted[3, :1], gender, atol=1e-6) and torch.equal(adapted[3, 1:], plain[3, :76])
    half = AdaptiveValue(look_up, encoder, pipeline=pipeline, strength=0.5)
    moved = edited(pipeline, half, ["a horde"])[2]
    assert torch.allclose(moved[0, :2], (expected + plain[0, 0]) / 2, atol=1e-6)  # on the line from the start of text


def test_adaptive_several_harms_unpadded(pipeline, encoder, look_up):
    """As long as prompt and tokens together, the negative prompt too."""
    adaptive = AdaptiveValue(look_up, encoder, pipeline=pipeline, unpadded=True)
    plain, negative, adapted, negative_after = edited(pipeline, adaptive, ["a horde"])
    length = len(pipeline.tokenizer("a horde").input_ids)
    assert adapted.shape == negative_after.shape == (1, length + 2, 16)
    assert torch.equal(adapted[:, 2:], plain[:, :length]) and torch.equal(negative_after, negative[:, : length + 2])
    with pytest.raises(UserError, match="all with as many tokens: use batch_size 1"):
        edited(pipeline, adaptive, ["a horde", "his axe"])


def test_adaptive_leaves_alone_what_no_value_fits(pipeline, encoder, look_up):
    """ "a cat" is the base's bit for bit, beside a picture that gets the token."""
    base = pixels(pipeline, [])
    adapted = pixels(pipeline, [AdaptiveValue(look_up, encoder, pipeline=pipeline, probability=1)])
    assert not np.array_equal(adapted[0], base[0]) and np.array_equal(adapted[1], base[1])
    assert np.array_equal(pixels(pipeline, [AdaptiveValue(look_up, encoder, pipeline=pipeline, probability=0)]), base)
    assert np.array_equal(pixels(pipeline, [AdaptiveValue(look_up, encoder, pipeline=pipeline, strength=0)]), base)


def test_adaptive_biases_on_a_share_and_harms_on_all(pipeline, encoder, look_up):
    """The share is drawn as `ValueToken` draws it."""
    adaptive, seeds = AdaptiveValue(look_up, encoder, pipeline=pipeline, probability=0.5), list(range(40))
    token = ValueToken(encoder, "gender equality", pipeline=pipeline, probability=0.5)
    plain, _, nurses, _ = edited(pipeline, adaptive, ["a nurse"] * 40, seeds)
    assert torch.equal(nurses, edited(pipeline, token, ["a nurse"] * 40, seeds)[2])
    assert 0 < (nurses != plain).any(-1).any(-1).sum() < 40
    plain, _, axes, _ = edited(pipeline, adaptive, ["an axe"] * 40, seeds)
    assert (axes != plain).any(-1).any(-1).all()
    assert look_up.asked == ["a nurse", "an axe"]


def test_adaptive_a_record_comes_first(pipeline, encoder, look_up):
    adaptive = AdaptiveValue(look_up, encoder, pipeline=pipeline, probability=1)
    records = [{"value_applied": False}, {"value": "racial equality"}]
    plain, _, adapted, _ = edited(pipeline, adaptive, PROMPTS, records=records)
    assert torch.equal(adapted[0], plain[0]) and not torch.equal(adapted[1], plain[1])
    assert look_up.asked == ["a nurse"]
    about = adaptive.describe()
    assert about["retriever"] == {"method": "look-up"} and about["probability"] == 1 and "value" not in about
    adaptive.strength = 0.5
    assert adaptive.describe()["strength"] == 0.5
