import json

import pytest
import torch
from PIL import Image

from diffusion_base.errors import UserError
from evaluation import eval_preference
from evaluation.figures.stored import read_figures
from evaluation.protocols.preference import medians, preference_figures, wins
from evaluation.scores.questions import AttributeQuestion, HarmQuestion, PreferenceQuestion


def rows(scores_by_prompt, judge="pickscore", version="1"):
    return [
        {"prompt": prompt, "prompt_index": i, "judge": judge, "version": version, "score": score}
        for i, (prompt, scores) in enumerate(scores_by_prompt.items())
        for score in scores
    ]


def test_a_tie_is_half_a_win():
    assert wins([1, 2, 3], [2, 2, 2]).tolist() == [0, 0.5, 1]


def test_medians():
    """Of three the middle one, of two their mean."""
    assert medians(rows({"a": [3, 9, 1], "b": [2, 5]})) == {"a": 3, "b": 3.5}


def test_win_rate_by_hand():
    """Medians 2, 5, 1, 7 against 1, 5, 3, 6 (there in another order): won, tied, lost, won; (1 + ½ + 0 + 1)/4 = .625.
    The outlier of 100 does not move the median of its prompt."""
    ours = rows({"a": [2, 2, 100], "b": [5, 5, 5], "c": [0, 1, 2], "d": [7]})
    theirs = rows({"d": [6], "c": [3, 3], "b": [4, 6], "a": [1, 1, 1]})
    (figure,) = preference_figures(ours, theirs, method="kto", against="base")
    assert (figure.metric, figure.method, figure.group) == ("win rate", "kto", "against base")
    assert (figure.value, figure.n, len(figure.per_unit)) == (0.625, 10, 4)
    assert 0 <= figure.low < 0.625 < figure.high <= 1
    (other,) = preference_figures(theirs, ours, method="base", against="kto")
    assert other.value == 1 - 0.625


def test_each_judge_has_its_figure():
    ours = rows({"a": [1.0]}) + rows({"a": [1.0]}, "hps-v2")
    theirs = rows({"a": [2.0]}, "hps-v2") + rows({"a": [0.0]})
    figures = preference_figures(ours, theirs, method="kto", against="base")
    assert [(row.judge, row.value) for row in figures] == [("pickscore", 1.0), ("hps-v2", 0.0)]


def test_sets_that_cannot_be_compared():
    ours = rows({"a": [1.0], "b": [1.0]})
    with pytest.raises(UserError, match="kto and base are not of the same prompts: only kto has 'b'"):
        preference_figures(ours, rows({"a": [1.0]}), method="kto", against="base")
    with pytest.raises(UserError, match="only base has 'c'"):
        preference_figures(ours, rows({"a": [1.0], "b": [1.0], "c": [1.0]}), method="kto", against="base")
    with pytest.raises(UserError, match="base was not scored by pickscore 1; score both sets with the same judges"):
        preference_figures(ours, rows({"a": [1.0], "b": [1.0]}, version="2"), method="kto", against="base")


def load_scorer(path: str):
    """For the command: `tests.evaluation.protocols.test_preference:NAME`."""
    return Bright(path)


class Bright:
    """Prefers pictures with much red."""

    version = "1"

    def __init__(self, name: str):
        self.name = name

    def preference(self, images, prompts):
        return torch.tensor([float(image.getpixel((0, 0))[0]) for image in images])


JUDGE = "tests.evaluation.protocols.test_preference:bright"


def save_set(folder, reds):
    (folder / "images").mkdir(parents=True)
    records = []
    for p, prompt_reds in enumerate(reds):
        for i, red in enumerate(prompt_reds):
            Image.new("RGB", (4, 4), (red, p, i)).save(folder / "images" / f"{p}_{i}.png")
            records.append({"file": f"{p}_{i}.png", "prompt": f"prompt {p}", "prompt_index": p})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture
def sets(tmp_path):
    """Medians 200 and 10 against 100 and 20: one prompt of two is won."""
    return save_set(tmp_path / "kto", [[200, 200, 0], [10, 10, 10]]), save_set(tmp_path / "base", [[100], [20]])


def test_the_command(sets, tmp_path, capsys):
    ours, theirs = map(str, sets)
    out = str(tmp_path / "out")
    flags = ["--pictures", ours, "--against", theirs, "--save_path", out, "--judge", JUDGE, "--device", "cpu"]
    (figure,) = eval_preference.main(flags)
    assert (figure.value, figure.judge, figure.group) == (0.5, "bright", "against base")
    assert "win rate" in capsys.readouterr().out
    assert read_figures(tmp_path / "out/figures/preference_kto_base.json") == [figure]
    scores = [json.loads(line) for line in (tmp_path / "out/scores/preference_kto.jsonl").read_text().splitlines()]
    assert [row["score"] for row in scores] == [200, 200, 0, 10, 10, 10]
    assert eval_preference.main([*flags, "--name", "ours"])[0].method == "ours"


def test_livos_layout(sets, tmp_path):
    """The first and only picture of each prompt against the medians: 100 < 200 and 20 > 10."""
    livo = tmp_path / "livo"
    (tmp_path / "base" / "images").rename(livo)
    (livo / "prompt.jsonl").write_text("".join(f'{{"prompt": "prompt {p}"}}\n' for p in (0, 1)))
    flags = ["--pictures", str(livo), "--against", str(sets[0]), "--save_path", str(tmp_path), "--judge", JUDGE]
    assert eval_preference.main([*flags, "--device", "cpu"])[0].per_unit == {"prompt 0": 0, "prompt 1": 1}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda kto, base: [kto, kto], "--against .*kto is the same set as --pictures"),
        (lambda kto, base: [kto, base, "--name", "base"], "both sets are called base"),
        (lambda kto, base: [kto, base + "/nowhere"], "nowhere: there is no such folder of pictures"),
        (lambda kto, base: [kto, base + "/images"], "images does not say its prompts"),
        (lambda kto, base: [kto, base, "--name", "kto/2"], "'kto/2' becomes part of files' names"),
    ],
)
def test_bad_flags(sets, tmp_path, changed, message):
    ours, theirs, *more = changed(*map(str, sets))
    flags = ["--pictures", ours, "--against", theirs, "--save_path", str(tmp_path), *more, "--device", "cpu"]
    with pytest.raises(UserError, match=message):
        eval_preference.main([*flags, "--judge", JUDGE])


def test_a_judge_is_needed(sets, tmp_path):
    with pytest.raises(UserError, match="--judge is needed"):
        eval_preference.main(["--pictures", str(sets[0]), "--against", str(sets[1]), "--save_path", str(tmp_path)])


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (AttributeQuestion("gender", ("male", "female")), "bright cannot say which of male, female fits"),
        (HarmQuestion("bloody"), "bright gives no scores for harms such as bloody"),
    ],
)
def test_a_judge_of_something_else_is_refused(question, message):
    with pytest.raises(UserError, match=message):
        question.ask(Bright("bright"), [Image.new("RGB", (4, 4))], ["a prompt"])


def test_a_judge_without_preferences_is_refused():
    from tests.evaluation.fake_judge import FirstPixel

    with pytest.raises(UserError, match="one does not know which pictures people prefer"):
        PreferenceQuestion().ask(FirstPixel("one"), [Image.new("RGB", (4, 4))], ["a prompt"])
