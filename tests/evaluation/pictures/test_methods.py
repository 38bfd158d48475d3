import pytest

from diffusion_base.errors import UserError
from evaluation.pictures.methods import method_of
from tests.tiny import tiny_pipeline

SHIFT = "tests.evaluation.fake_method:?shift=0.5"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    tiny_pipeline(seed=7).text_encoder.save_pretrained(folder / "value_encoder")
    return str(folder)


def test_names(encoder):
    assert method_of().name == method_of("base").name == "base"
    assert method_of("sd-1-5").name == "sd-1-5" and method_of("sd-1-5").specs == ()
    assert method_of(specs=[f"value_encoder:{encoder}", SHIFT]).name == "value_encoder + tests.evaluation.fake_method"
    assert method_of("ours", [SHIFT]).name == "ours"


def test_livo_is_short_for_its_intervention(encoder):
    livo = method_of("livo", livo_model=encoder)
    assert (livo.name, livo.specs, livo.names_value) == ("livo", (f"value_encoder:{encoder}",), False)
    assert method_of(livo_model=encoder).name == "value_encoder"
    assert method_of("both", [SHIFT], encoder).specs == (f"value_encoder:{encoder}", SHIFT)


def test_interventions_come_in_their_order(encoder):
    method = method_of(specs=[SHIFT, f"value_encoder:{encoder}?value=gender equality&strength=0.5"])
    assert method.names_value
    shift, token = (intervention.describe() for intervention in method.load(tiny_pipeline()))
    assert shift == {"method": "shift", "shift": 0.5}
    assert (token["value"], token["strength"]) == ("gender equality", 0.5)
    assert method_of().load(tiny_pipeline()) == []


@pytest.mark.parametrize(
    ("name", "specs", "livo_model", "message"),
    [
        ("dall-e", [], None, "--method dall-e: there is no such method; there are base, sd-1-5, livo, and any name"),
        ("livo", [], None, "--method livo needs --livo_model"),
        ("livo", [], "/nowhere/livo", "--livo_model /nowhere/livo: there is no such folder"),
        ("base", [SHIFT], None, "--method base is the model without interventions"),
        (None, ["nowhere:x"], None, "there is no package 'nowhere'"),
        (None, ["scorers:clip"], None, "the package 'scorers' has no load_intervention"),
        (None, ["value_encoder:/nowhere/livo"], None, "--intervention 'value_encoder:/nowhere/livo': there is no"),
        (None, ["value_encoder:owner/name?valeu=x"], None, "has no option 'valeu'"),
        (None, ["value_encoder:owner/name?strength=much"], None, "option 'strength'"),
        (None, ["tests.evaluation.fake_method:"], None, "needs the option 'shift'"),
    ],
)
def test_bad_methods_are_refused_before_anything_is_loaded(name, specs, livo_model, message):
    with pytest.raises(UserError, match=message):
        method_of(name, specs, livo_model)
