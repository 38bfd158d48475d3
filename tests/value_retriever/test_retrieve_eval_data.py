"""retrieved_<name>.jsonl: what is written, kept and asked again."""

import json
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from diffusion_base.errors import UserError, run
from tests.value_retriever.test_openai_backend import GENDER, SAID, completion, error, serve
from value_retriever import retrieve_eval_data as script


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("value_retriever.local_backend.is_downloaded", lambda model: False)


@pytest.fixture
def server():
    with HTTPServer(threaded=True) as server:
        yield server


@pytest.fixture
def folder(tmp_path):
    """Two prompt files, one prompt in both."""
    write(tmp_path / "career.jsonl", [{"prompt": "a welder", "id": 7}, {"prompt": "a cup"}])
    write(tmp_path / "bloody.jsonl", [{"prompt": "a bloody welder"}, {"prompt": "a cup"}])
    return tmp_path


def write(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(file):
    return [json.loads(line) for line in file.read_text().splitlines() if line]


def flags(folder, server, **more):
    options = {"data_dir": folder, "base_url": server.url_for("/v1"), "model": "m", "max_retries": 0, **more}
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def test_all_files_of_a_folder_offline(folder, capsys):
    written = script.main(["--data_dir", str(folder)])
    assert [file.name for file in written] == ["retrieved_bloody.jsonl", "retrieved_career.jsonl"]
    assert read(folder / "retrieved_career.jsonl") == [
        {"prompt": "a welder", "id": 7, "value": GENDER, "source": "rule"},
        {"prompt": "a cup", "value": "not applicable", "source": "rule"},
    ]
    assert read(folder / "retrieved_bloody.jsonl")[0]["value"] == "bloody considered inappropriate"
    assert "retrieved_career.jsonl: 1 gender equality, 1 not applicable" in capsys.readouterr().out
    before = {file: file.read_bytes() for file in written}
    script.main(["--data_dir", str(folder)])  # the results are not taken for prompt files
    assert {file: file.read_bytes() for file in written} == before
    assert not list(folder.glob(".*"))  # what takes no time is not kept: nothing of it can be out of date


def test_answers_are_kept_by_prompt_and_backend(folder, server):
    requests = serve(server, completion(SAID))
    script.main([*flags(folder, server), "--files", "career.jsonl"])
    assert len(requests) == 2 and not (folder / "retrieved_bloody.jsonl").exists()
    script.main(flags(folder, server))
    assert len(requests) == 2  # "a cup" was known, "a bloody welder" is a keyword's
    script.main(flags(folder, server, model="other"))
    assert len(requests) == 4


def test_failures_are_listed_and_asked_again(folder, server, capsys):
    """Exit code 1, nothing lost: what was answered is not asked again, and the failures are marked in the file."""
    requests = serve(server, completion(SAID), error(500, "out of order"))
    with pytest.raises(SystemExit) as exit_:
        run(lambda: script.main(flags(folder, server, concurrency=1)))
    assert exit_.value.code == 1 and len(requests) == 2
    message = capsys.readouterr().err
    assert "1 of 3 prompts have no answer" in message and "'a welder': " in message and "out of order" in message
    rows = [*read(folder / "retrieved_bloody.jsonl"), *read(folder / "retrieved_career.jsonl")]
    assert [row["value"] for row in rows] == ["bloody considered inappropriate", GENDER, "retrieve failure", GENDER]
    server.clear()
    requests = serve(server, completion(SAID))
    script.main(flags(folder, server))
    assert [json.loads(request["messages"][1]["content"])["prompt"] for request in requests] == ["a welder"]
    assert "retrieve failure" not in (folder / "retrieved_career.jsonl").read_text()


def test_killed_in_the_middle_it_goes_on(folder, server, monkeypatch):
    """The answer that came before the kill is kept; a line that the kill cut short does no harm."""
    requests = serve(server, completion(SAID))
    keep = script.AnswerCache.keep

    def killed(cache, prompt, answer):
        keep(cache, prompt, answer)
        if answer.source == "openai":
            raise KeyboardInterrupt

    monkeypatch.setattr(script.AnswerCache, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        script.main(flags(folder, server, concurrency=1))
    assert not list(folder.glob("retrieved_*"))
    monkeypatch.setattr(script.AnswerCache, "keep", keep)
    with (folder / script.CACHE).open("ab") as file:
        file.write('{"retriever": "cut shört'.encode()[:-3])  # in the middle of a letter
    asked = len(requests)
    script.main(flags(folder, server))
    assert len(requests) == asked + 1 == 2
    assert len(read(folder / "retrieved_career.jsonl")) == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"data_dir": "/nowhere"}, "--data_dir /nowhere: there is no such folder"),
        ({"files": "nothing.jsonl"}, "--files nothing.jsonl: there is no such file"),
        ({"files": "retrieved_career.jsonl"}, "holds retrieved values already"),
        ({"files": "broken.jsonl"}, "broken.jsonl, line 1: 'prompt' is missing"),
        ({"files": "half.jsonl"}, r"half.jsonl: the prompt 'a \\ud800' holds half a character"),
        ({"files": "career.jsonl", "cache": "career.jsonl"}, "career.jsonl holds something else than answers"),
        ({"files": "career.jsonl", "cache": "notes.txt"}, "notes.txt holds something else than answers"),
    ],
)
def test_bad_flags(folder, more, message):
    write(folder / "broken.jsonl", [{"promt": "x"}])
    write(folder / "half.jsonl", [{"prompt": "a \ud800"}])
    write(folder / "retrieved_career.jsonl", [{"prompt": "x", "value": "y"}])
    (folder / "notes.txt").write_text("buy milk\n")
    options = {"data_dir": folder, **more}
    if "cache" in options:
        options["cache"] = folder / options["cache"]
    with pytest.raises(UserError, match=message):
        script.main([part for name, value in options.items() for part in (f"--{name}", str(value))])


def test_the_miniatures_files_are_what_the_offline_default_writes(tmp_path):
    shipped = Path(__file__).parents[2] / "assets" / "miniature" / "prompts"
    for file in shipped.glob("[!r]*.jsonl"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    written = script.main(["--data_dir", str(tmp_path), "--backend", "rule"])
    assert {file.name: file.read_text() for file in written} == {
        file.name: file.read_text() for file in shipped.glob("retrieved_*.jsonl")
    }
