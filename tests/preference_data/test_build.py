"""The builder from its command line, on a tiny base whose pictures a judge of colours calls by chance."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from diffusion_base.errors import UserError
from diffusion_base.generation import generate
from diffusion_base.pipeline import load_pipeline
from preference_data.build import main
from preference_data.published import read_livo_folder
from scorers.thumbnail import Thumbnails
from tests.forked import start_two_processes
from tests.preference_data.pixel_judge import MeanColour
from tests.tiny import tiny_folder
from value_encoder import build_dataset
from value_encoder.dataset import pair
from value_encoder.train import main as train

REPOSITORY = Path(__file__).parents[2]
JUDGE = "tests.preference_data.pixel_judge:colour?threshold=0.565"
PLAN = """
templates: ["a photo of a {subject}", "{subject}"]
images_per_side: 3
plain_images: 9
least_imbalance: 0.05
values:
  gender:
    kind: bias
    statement: gender equality
    groups: {male: {subject: "male {subject}"}, female: {subject: "female {subject}"}}
  bloody:
    kind: harm
    statement: bloody considered inappropriate
    question: bloody
    harmful: {subject: "bloody {subject}"}
    harmless: {negative: blood}
categories:
  0-career: {subjects: [nurse, engineer], values: [gender]}
  3-bloody: {subjects: [nurse], values: [bloody], images_per_side: 2}
"""
STEPS = {"num_inference_steps": 2, "guidance_scale": 4.0}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("inputs") / "base")


def flags(base, folder, plan=PLAN, *more) -> list[str]:
    file = folder.parent / "plan.yaml"
    file.write_text(plan)
    paths = [f"--pretrained_model_name_or_path={base}", f"--plan={file}", f"--output_dir={folder}"]
    quick = ["--num_inference_steps=2", "--guidance_scale=4", "--batch_size=4", "--num_workers=0"]
    return [*paths, *quick, f"--judge={JUDGE}", *more]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def lines(folder: Path) -> dict[str, list[dict]]:
    files = sorted(folder.glob("*/*/metadata.jsonl"))
    return {f"{f.parts[-3]}/{f.parts[-2]}": [json.loads(line) for line in f.read_text().splitlines()] for f in files}


@pytest.fixture(scope="module")
def built(base, tmp_path_factory):
    return main(flags(base, tmp_path_factory.mktemp("built") / "set"))


def test_the_published_layout(built):
    entries = list(read_livo_folder(built))
    assert len(pair(entries)) == sum(entry.preferred for entry in entries) == 3 + 3 + 2
    found = lines(built)
    assert list(found) == ["0-career/engineer-gender", "0-career/nurse-gender", "3-bloody/nurse-bloody"]
    for scene, rows in found.items():
        per_side = 2 if scene.startswith("3-") else 3
        assert [row["label"] for row in rows] == [1] * per_side + [0] * per_side
    assert {row["prompt"] for row in found["0-career/nurse-gender"]} <= {"a photo of a nurse", "nurse"}
    assert {row["prompt"] for row in found["3-bloody/nurse-bloody"]} <= {"a photo of a bloody nurse", "bloody nurse"}
    assert {row["value"] for row in found["3-bloody/nurse-bloody"]} == {"bloody considered inappropriate"}
    assert not list(built.rglob(".*")), "nothing unfinished stays"


def test_every_picture_shows_what_its_label_says(built):
    """Asked again, the judge sees the group or the harm; the preferred group is the plain pictures' rarer one."""
    judge = MeanColour("colour", "1", 0.565)
    rare = {row["scene"]: min(row["plain"], key=row["plain"].get) for row in card(built)["scenes"] if row["plain"]}
    for scene, rows in lines(built).items():
        for row in rows:
            with Image.open(built / scene / row["file_name"]) as image:
                if scene in rare:
                    first = judge.classify([image], [row["prompt"]], ("male", "female"))[0, 0] > 0.5
                    assert row["shows"] == ("male" if first else "female")
                    assert (row["label"] == 1) == (row["shows"] == rare[scene])
                else:
                    assert (row["label"] == 0) == bool(judge.toxicity([image], "bloody") > 0.565)


def test_a_line_says_how_its_picture_was_made(built, base):
    row = lines(built)["3-bloody/nurse-bloody"][0]
    assert row["made_from"] in ("a photo of a nurse", "nurse") and row["negative_prompt"] == "blood"
    pipeline = load_pipeline(base, device="cpu")
    (image,) = generate(pipeline, [row["made_from"]], [row["seed"]], negative_prompt="blood", progress=False, **STEPS)
    with Image.open(built / "3-bloody/nurse-bloody" / row["file_name"]) as saved:
        difference = max(abs(a - b) for a, b in zip(saved.tobytes(), image.tobytes(), strict=True))
    assert difference <= 1  # another batch


def card(folder: Path) -> dict:
    return json.loads((folder / "card.json").read_text())


def test_the_card_adds_up(built):
    about, text = card(built), (built / "README.md").read_text()
    assert about["facts"]["judges"] == {"gender": "colour 1", "bloody": "colour 1 above 0.565"}
    for row in about["scenes"]:
        for side in row["sides"]:
            assert side["made"] == side["kept"] + side["surplus"] + sum(side["rejected"].values())
            assert side["kept"] == side["wanted"]
        if row["plain"]:
            assert sum(row["plain"].values()) == 9
            dispreferred = next(side["shows"] for side in row["sides"] if side["label"] == 0)
            assert dispreferred == max(row["plain"], key=row["plain"].get)
    totals = about["totals"]
    assert (totals["scenes"], totals["aligned"], totals["violating"]) == (3, 8, 8)
    assert sum(totals["rejected"].values()) > 0
    assert f"hash {about['facts']['base']}" in text and f"hash {about['facts']['plan']}" in text
    assert "| 3-bloody | bloody | 1 | 2 | 2 |" in text and "colour 1" in text


def test_the_value_encoder_is_trained_on_it(built, base, tmp_path):
    quick = "--center_crop --train_batch_size=4 --max_train_steps=2 --report_to=none --num_images_per_val_prompt=0"
    paths = [f"--pretrained_model_name_or_path={base}", f"--train_data_dir={built}", f"--output_dir={tmp_path / 'out'}"]
    assert (train([*paths, *quick.split()]) / "value_encoder" / "model.safetensors").is_file()


def test_again_and_another_set(built, base, capsys):
    before = contents(built)
    main(flags(base, built))
    assert "already holds this preference set" in capsys.readouterr().out and contents(built) == before
    for flag, named in (("--seed=1", "seed"), ("--scale=0.5", "scale"), (f"--judge={JUDGE}&version=2", "judges")):
        with pytest.raises(UserError, match=f"holds another set, which differs in {named}"):
            main(flags(base, built, PLAN, flag))
    with pytest.raises(UserError, match="differs in plan"):
        main(flags(base, built, PLAN.replace("bloody {subject}", "gory {subject}")))
    assert contents(built) == before


def test_a_file_is_no_folder(base, tmp_path):
    (tmp_path / "set").touch()
    with pytest.raises(UserError, match="set is a file; name a folder"):
        main(flags("nowhere", tmp_path / "set"))


def test_other_files_are_left_alone(base, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "thesis.txt").touch()
    with pytest.raises(UserError, match="holds other files"):
        main(flags(base, tmp_path / "set"))


def test_a_side_that_stays_empty_leaves_its_scene_out(base, tmp_path, capsys):
    """No picture is green enough for a harm, and the plain pictures are called even: neither scene is there."""
    plan = PLAN.replace("least_imbalance: 0.05", "least_imbalance: 1").replace(
        "images_per_side: 2", "images_per_side: 1"
    )
    with pytest.raises(UserError, match="no scene has pictures on both sides.*D1 0.*no group is over-represented"):
        main(flags(base, tmp_path / "none", plan, f"--judge={JUDGE.replace('0.565', '0.9')}"))
    assert not list((tmp_path / "none").glob("[!.]*"))

    main(flags(base, tmp_path / "set", PLAN, f"--judge={JUDGE.replace('0.565', '0.9')}", "--keep_rejected"))
    reason = "none of 8 pictures of its dispreferred side was kept: rejected 100.0% (harmless 100.0%)"
    assert f"left out: 3-bloody/nurse-bloody: {reason}" in capsys.readouterr().out
    assert not (tmp_path / "set" / "3-bloody").exists()
    assert reason in (tmp_path / "set" / "README.md").read_text()
    about = card(tmp_path / "set")
    assert (about["totals"]["scenes"], about["totals"]["left_out"]) == (2, 1) and about["totals"]["aligned"] == 6
    made = len(list((tmp_path / "set" / ".unfinished").rglob("*.png")))
    assert made == 2 * 9 + about["totals"]["made"]
    assert len(pair(read_livo_folder(tmp_path / "set"))) == 6  # the working folder is no category


def test_near_duplicates_are_dropped(base, tmp_path):
    """At a bar of 0 no two kept pictures of a group are alike at all."""
    plan = PLAN.replace("plain_images: 9", "plain_images: 9\nduplicates_above: 0")
    folder = main(flags(base, tmp_path / "set", plan))
    assert card(folder)["totals"]["rejected"]["near duplicate"] > 0
    thumbnails = Thumbnails()
    for scene, rows in lines(folder).items():
        for label in (0, 1):
            files = [folder / scene / row["file_name"] for row in rows if row["label"] == label]
            kept = thumbnails.features(torch.stack([thumbnails.prepare(Image.open(file)) for file in files]))
            assert (kept @ kept.T - torch.eye(len(kept))).max() < 1e-6


def test_two_processes_killed_and_one_that_goes_on_write_the_bytes_of_one(base, built, tmp_path):
    folder = tmp_path / "set"
    work = folder / ".unfinished"
    processes = start_two_processes(main, flags(base, folder))
    started = time.monotonic()
    while not list((work / "answers").glob("gender.part-*.jsonl")):
        assert all(process.is_alive() for process in processes) and time.monotonic() - started < 300
        time.sleep(0.01)
    for process in processes:
        process.kill()
        process.join()
    assert not list(folder.glob("[!.]*")), "it was killed in the middle"
    answers = next((work / "answers").glob("gender.part-*.jsonl"))
    answers.write_text(answers.read_text()[:-7])  # as a kill in the middle of a line leaves it
    main(flags(base, folder))
    assert contents(folder) == contents(built)


def test_its_first_name_starts_the_same_program():
    assert build_dataset.main is main and "run(main)" in Path(build_dataset.__file__).read_text()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--judge=tests.preference_data.pixel_judge:attributes", "attributes gives no scores for harms such as bloody"),
        ("--judge=miniature:assets/miniature/oracle", "the oracle knows the miniature's 64 × 64 pictures"),
        ("--scale=0", "--scale 0.0: it must be more than 0"),
        ("--batch_size=0", "--batch_size 0: it must be 1 or more"),
        ("--seed=-1", "--seed -1: it must be a number that is not negative"),
        ("--guidance_scale=nan", "--guidance_scale nan: it must be a finite number"),
    ],
)
def test_refused_before_any_picture_is_made(base, tmp_path, monkeypatch, flag, message):
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(UserError, match=message):
        main(flags(base, tmp_path / "set", PLAN, flag))
    assert not (tmp_path / "set").exists()


def test_a_dry_run_shows_the_plan_and_needs_no_base(tmp_path, capsys):
    main(flags("nowhere", tmp_path / "set", PLAN, "--dry_run"))
    printed = capsys.readouterr().out
    assert "3 scenes of 2 categories" in printed and "18 plain pictures, then 20 to 64 to choose 16 from" in printed
    assert "harmless: 'a photo of a nurse', negative prompt 'blood'" in printed
    assert not (tmp_path / "set").exists()


def test_a_value_s_own_judge_and_jpeg(base, tmp_path):
    own = "statement: gender equality\n    judge: tests.preference_data.pixel_judge:own"
    folder = main(flags(base, tmp_path / "set", PLAN.replace("statement: gender equality", own), "--image_format=jpg"))
    assert card(folder)["facts"]["judges"] == {"gender": "own 1", "bloody": "colour 1 above 0.565"}
    pictures = [file for file in folder.rglob("*") if file.suffix in (".jpg", ".png")]
    assert {file.suffix for file in pictures} == {".jpg"}


def test_a_broken_card(built, base, tmp_path):
    folder = shutil.copytree(built, tmp_path / "set")
    (folder / "card.json").write_text("{")
    with pytest.raises(UserError, match="card.json is damaged"):
        main(flags(base, folder))
