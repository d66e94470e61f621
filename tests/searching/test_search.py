"""`selfsight search` as people type it: what it finds, what it writes, and what it says when it cannot."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_main_job import TINY

import selfsight
from selfsight import cli
from selfsight.browsing.collection import gather
from selfsight.browsing.labels import Labels
from selfsight.data import source
from selfsight.data.manifest import Manifest, scan
from selfsight.data.tables import read_columns
from selfsight.errors import RecipeError
from selfsight.neighbours import unit
from selfsight.searching import story
from selfsight.searching.index import Index

Said = Callable[..., str]
ODD = ['two\nlines, "quoted".png', "\u202egnp.تصوير.png", "<img src=x onerror=alert(1)>.png", "=cmd.png", "[red].png"]


@pytest.fixture(scope="module")
def home(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on photos in groups of eight, half of them labelled, a quarter of the groups for testing; and an index of
    them in another place, with copies, odd names and a picture like no other."""
    folder = tmp_path_factory.mktemp("search")
    shutil.copytree(photos, folder / "photos")
    lines = ["path,species,group,split"]
    for picture in sorted(photos.rglob("*.png")):
        group, label = int(picture.stem) // 4, picture.parent.name
        part = "test" if group % 4 == 3 else "train"
        lines.append(f"{picture},{label if int(picture.stem) % 4 < 2 else ''},{group},{part}")
    table = folder / "photos.csv"
    table.write_text("\n".join(lines))
    asked = [*TINY, "--for", "2steps", "--label-column", "species", "--quiet"]
    assert cli.main(["train", str(table), *asked, "--out", str(folder / "run")]) == 0
    for name in ODD:
        shutil.copy(photos / "china" / "003.png", folder / "photos" / "china" / name)
    with Image.open(photos / "flower" / "005.png") as one:
        one.resize((60, 60), Image.Resampling.BICUBIC).save(folder / "photos" / "flower" / "larger.png")
    board = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (20, 20))
    Image.fromarray(board).save(folder / "photos" / "china" / "board.png")
    assert cli.main(["embed", str(folder / "run"), str(folder / "photos"), "--out", str(folder / "vectors")]) == 0
    return folder


@pytest.fixture
def search(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """`selfsight search ARGUMENTS` in home: what it printed."""
    monkeypatch.chdir(home)

    def said(*arguments: object, code: int = 0) -> str:
        capsys.readouterr()
        assert cli.main(["search", *map(str, arguments)]) == code
        shown = capsys.readouterr()
        return shown.err if code else shown.out

    return said


def found(home: Path, *query: str | int, **options: Any) -> list[str]:
    return [hit["path"] for hit in selfsight.search(home / "vectors", query, **options)["hits"]]


def test_a_run_knows_its_columns_and_other_pictures_need_not(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "vectors"
    assert cli.main(["embed", str(home / "run"), str(home / "photos.csv"), "--out", str(out)]) == 0
    assert sorted(map(str, Index.open(out).labels)) == ["None"] * 32 + ["china"] * 16 + ["flower"] * 16
    assert set(Index.open(home / "vectors").labels) == {"china", "flower"}  # of the folders
    assert cli.main(["export", str(home / "run"), str(home / "photos"), "--out", str(tmp_path / "made")]) == 0


def test_a_column_that_is_named_must_be_there(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.csv").write_text(f"path,specie\n{home}/photos/china/000.png,china\n")
    for data, says in ((home / "photos", "so it has no columns to choose"), (tmp_path / "other.csv", "'specie'?")):
        for command in (["evaluate"], ["embed", "--out", str(tmp_path / "vectors")]):
            assert cli.main([command[0], str(home / "run"), str(data), *command[1:], "--label-column", "species"]) == 2
            assert says in capsys.readouterr().err


def test_a_file_a_row_and_a_name_ask_the_same(home: Path, search: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index.open(home / "vectors")
    row = index.names.index("flower/010.png")
    by_row, by_name = found(home, str(row), k=5), found(home, "flower/010.png", k=5)
    assert found(home, row, k=5) == by_row
    by_file = found(home, str(home / "photos" / "flower" / "010.png"), k=6)
    assert by_row == by_name == by_file[1:]
    assert by_file[0] == "flower/010.png"  # a file may be in the index; a row is not its own neighbour
    lines = search("vectors", row, "-k", 5).splitlines()
    assert lines[0] == f"pictures like {row}, of 71 in vectors:"
    assert [line.split("\t")[3] for line in lines[2:]] == by_row


def test_one_is_asked_for_as_several_are(home: Path) -> None:
    run = selfsight.Run(home / "run")
    for one, several in (({"unlike": 9}, {"unlike": [9]}), ({"label": "china"}, {"label": ["china"]})):
        assert run.search(0, **one) == run.search([0], **several)
    assert {hit["label"] for hit in run.search(0, label="china")["hits"]} == {"china"}
    assert run.search(0)["asked"] == "pictures like 0"


def test_a_run_embeds_what_the_command_does(home: Path, tmp_path: Path) -> None:
    mine, run = Path(shutil.copytree(home / "vectors", tmp_path / "vectors")), selfsight.Run(home / "run")
    assert run.embed(prune=True, out=mine) == mine
    with pytest.raises(RecipeError, match="say where the vectors go"):
        run.embed(home / "photos")


def test_several_are_their_mean_and_unlike_counts_half(home: Path) -> None:
    index = Index.open(home / "vectors")
    vectors = unit(np.asarray(index.vectors))
    target = vectors[[2, 40]].mean(axis=0) - 0.5 * vectors[[9]].mean(axis=0)
    cosines = vectors @ target / np.linalg.norm(target)
    cosines[[2, 40, 9]] = -np.inf
    assert found(home, "2", "40", unlike=["9"], k=8) == [index.names[row] for row in np.argsort(-cosines)[:8]]


def test_the_lines_of_the_page(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(home)
    page = (Path(__file__).parents[2] / "docs" / "search.md").read_text("utf-8")
    exec(page.split("```py\n")[1].split("```")[0], {})
    assert ".png china" in capsys.readouterr().out


def test_filters(home: Path) -> None:
    assert all(path.startswith("flower/") for path in found(home, "0", label=["flower"], k=99))
    assert len(found(home, "0", label=["flower", "china"], k=99)) == 70
    assert set(found(home, "0", path="china/00?.png", k=99)) == {f"china/00{number}.png" for number in range(1, 10)}
    assert found(home, "0", path="*[red]*") == ["china/[red].png"]
    answer = selfsight.search(home / "vectors", "0", label=["dog"])
    assert answer["notes"] == ["No picture that the filter leaves is an answer."]


def test_duplicates_are_told_by_the_picture(home: Path, search: Said) -> None:
    hits = selfsight.search(home / "vectors", duplicates=True)["hits"]
    groups = [{hit["path"] for hit in hits if hit["group"] == number} for number in (1, 2)]
    assert groups == [{"china/003.png", *(f"china/{name}" for name in ODD)}, {"flower/005.png", "flower/larger.png"}]
    assert {hit["as"] for hit in hits} == {"", "the same file", "nearly the same"}
    assert "nearly the same" in search("vectors", "--duplicates")
    assert "No picture that the filter leaves" in search("vectors", "--duplicates", "--path", "china/00[1].png")


def test_outliers_and_what_to_label_next(home: Path, search: Said) -> None:
    index = Index.open(home / "vectors")
    cosines = unit(np.asarray(index.vectors)) @ unit(np.asarray(index.vectors)).T
    np.fill_diagonal(cosines, -np.inf)
    likeness = np.sort(cosines, axis=1)[:, -10:].mean(axis=1)
    lines = [line.split("\t") for line in search("vectors", "--outliers", "-k", 3).splitlines()[2:]]
    assert [line[3] for line in lines] == [index.names[row] for row in likeness.argsort()[:3]]
    assert [float(line[1]) for line in lines] == pytest.approx(np.sort(likeness)[:3], abs=1e-3)
    few = selfsight.search(home / "vectors", diverse=4)["hits"]
    assert few == selfsight.search(home / "vectors", diverse=4)["hits"]
    assert len({hit["path"] for hit in few}) == 4
    unlike = selfsight.search(home / "vectors", diverse=99, label=["china"])
    assert len(unlike["hits"]) == 30
    assert "8 left out" in unlike["notes"][0]


def test_what_is_labelled_next_is_no_test_picture(home: Path, search: Said, tmp_path: Path) -> None:
    manifest = Manifest.load(home / "run" / "manifest.parquet")
    assert "test part" in search("run", "--diverse", 99, "--csv", tmp_path / "next.csv")
    free = (manifest.labels < 0) & ~manifest.test
    listing = source.find(tmp_path / "next.csv")
    assert sorted(listing.paths) == [manifest.paths[row] for row in np.flatnonzero(free)]
    assert set(listing.splits) == {"train"}


def test_labels_that_were_given_on_the_page_count(home: Path, search: Said, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(home / "vectors", tmp_path / "mine"))
    index = Index.open(mine)
    rows = [index.names.index(f"china/00{number}.png") for number in range(4)]
    before = search(mine, "--diverse", 4)
    labels = Labels(gather([index]), mine / "browse" / "labels.csv")
    assert "labels.csv" not in before + search(mine, 0)
    labels.give(rows[:2], "mine")
    labels.give(rows[2:], "")
    note = "Of 4 pictures the label is that of browse/labels.csv, given on the page."
    assert note in search(mine, "--diverse", 9)
    assert note in search(mine, rows[0], "--label", "mine")
    assert {hit["row"] for hit in selfsight.search(mine, diverse=9)["hits"]} == {*rows[2:]}  # the others have one
    [found] = selfsight.search(mine, rows[0], label="mine")["hits"]
    assert (found["row"], found["label"]) == (rows[1], "mine")
    assert "labels.csv" not in search(mine, 0)
    labels.file.write_text("picture,label\na.png,one\n")
    assert "has no column 'path'; mend it or take it away" in search(mine, "--diverse", 4, code=2)


def test_a_name_with_wide_blanks_and_joined_signs_is_shown_as_it_is(home: Path, search: Said, tmp_path: Path) -> None:
    name = "Screenshot 9.41\u202fAM \U0001f469\u200d\U0001f4bb\u3000.png"
    (tmp_path / "few").mkdir()
    shutil.copy(home / "photos" / "china" / "000.png", tmp_path / "few" / name)
    assert cli.main(["embed", "run", str(tmp_path / "few"), "--out", str(tmp_path / "vectors")]) == 0
    assert name in search(tmp_path / "vectors", home / "photos" / "china" / "001.png")


def test_a_run_has_its_own_encoder(home: Path, search: Said) -> None:
    """`browse runs/one vectors/ --encoder moved/two`: it is that of the vectors."""
    said = search("run", home / "photos" / "china" / "001.png", "--encoder", "moved")
    assert said == search("run", home / "photos" / "china" / "001.png")


def test_a_table_of_answers_keeps_the_groups_and_the_test_part_of_the_run(
    home: Path, photos: Path, search: Said, tmp_path: Path
) -> None:
    manifest, file = Manifest.load(home / "run" / "manifest.parquet"), tmp_path / "found.csv"
    search("vectors", "china/board.png", "-k", 99, "--csv", file)  # pictures are known by what is in them
    found = scan(source.find(file))
    known = {digest: row for row, digest in enumerate(manifest.digests)}
    rows = np.array([known.get(digest, -1) for digest in found.digests])
    assert [found.names[place] for place in np.flatnonzero(rows < 0)] == [str(home / "photos/flower/larger.png")]
    assert (found.test == np.where(rows < 0, False, manifest.test[rows])).all()
    both = {*zip(manifest.groups[rows[rows >= 0]].tolist(), found.groups[rows >= 0].tolist(), strict=True)}
    assert len(both) == len({own for own, _ in both}) == len({other for _, other in both}) == 8
    assert read_columns(file)["duplicates"] == [None] * 70
    search("vectors", "--duplicates", "--csv", file)
    assert read_columns(file)["duplicates"] == ["1"] * 6 + ["2"] * 2
    assert set(read_columns(file)["group"]) == {str(photos / "china/000.png"), str(photos / "china/004.png"), None}
    story.keep({**selfsight.search(home / "vectors", "0"), "run": str(tmp_path)}, None, file, None)
    assert set(source.find(file).splits) == {None}  # of a run that is gone nothing is known


def test_a_name_that_is_no_text_comes_back(tmp_path: Path, photos: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    shutil.copy(photos / "china" / "003.png", tmp_path / name)
    hit = {"file": str(tmp_path / name), "label": None, "row": 0, "similarity": 1.0, "digest": ""}
    story.keep({"run": str(tmp_path), "hits": [hit]}, None, tmp_path / "found.csv", None)
    assert [row.path for row in source.find(tmp_path / "found.csv").rows] == [str(tmp_path / name)]


def test_odd_names_stay_one_line_and_come_back_whole(home: Path, search: Said, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.json", "a.csv", "a.png")]
    shown = search("vectors", "china/003.png", "-k", 6, "--json", files[0], "--csv", files[1], "--sheet", files[2])
    assert len(shown.splitlines()) == 8
    assert "two\\nlines" in shown
    assert "\u202e" not in shown
    names = {f"china/{name}" for name in ODD}
    told = json.loads(files[0].read_text())["hits"]
    assert names <= {hit["path"] for hit in told}
    with open(files[1], newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == [hit["file"] for hit in told]
    assert {Path(row["path"]).name for row in rows} >= set(ODD)
    assert selfsight.inspect(files[1]).to_dict()["pictures"] == 6  # the table is DATA
    with Image.open(files[2]) as drawn:
        assert drawn.size[0] > 600


def test_gone_pictures_are_answers_that_say_so(home: Path, search: Said, tmp_path: Path) -> None:
    picture = home / "photos" / "china" / "020.png"
    kept = picture.read_bytes()
    picture.unlink()
    mine = Path(shutil.copytree(home / "vectors", tmp_path / "my vectors"))
    try:
        said = search(mine, "0", "--path", "china/020.png", "--sheet", tmp_path / "a.png")
        assert "1 of these files are gone" in said
        assert "china/0" in search("vectors", picture)  # its vector is in the index
        assert cli.main(shlex.split(said.split("`")[1])[1:]) == 0
        assert len(Index.open(mine)) == 70
    finally:
        picture.write_bytes(kept)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("vectors", "ask one thing"),
        ("vectors 3 --outliers", "ask one thing"),
        ("vectors --unlike 3", "ask one thing"),
        ("vectors --outliers --unlike 3", "--unlike needs a QUERY"),
        ("vectors 3 -k 0", "from 1 on"),
        ("vectors 99", "there is no row 99 in 'vectors': its 71 rows count from 0"),
        (
            "vectors nothing.png",
            "'nothing.png' is neither a file, nor a row of 'vectors', nor a picture's name in it; give",
        ),
        ("vectors vectors/embeddings.json", "not_an_image"),
        ("nowhere 3", "does not exist"),
        ("photos 3", "holds no embeddings"),
        ("vectors 3 --sheet photos", "cannot be written"),
        ("vectors 3 --json photos.csv/found.json", "found.json' cannot be written (Not a directory)"),
        ("postgresql://127.0.0.1:1/none 3", "cannot be reached"),
        ("postgresql://me:secret@h:abc/none 3", "'postgresql://...' cannot be reached"),
        ("postgresql://[h/none 3", "'postgresql://...' cannot be reached"),
    ],
)
def test_what_cannot_be_is_one_sentence(line: str, says: str, search: Said) -> None:
    said = search(*line.split(), code=2)
    assert says in said
    assert said.count("\n") == 1


def test_numbers_that_could_not_be_written_are_not_measured(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    assert cli.main(["evaluate", "run", "--json", "photos.csv/numbers.json"]) == 2
    assert "numbers.json' cannot be written (Not a directory); choose another place" in capsys.readouterr().err
    assert not (home / "run" / "evaluation.json").exists()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_very_few_pictures(count: int, home: Path, search: Said, tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    for number in range(2):
        shutil.copy(home / "photos" / "china" / f"00{number}.png", tmp_path / "few")
    place = tmp_path / "vectors"
    assert cli.main(["embed", "run", str(tmp_path / "few"), "--out", str(place)]) == 0
    for number in range(2 - count):
        (tmp_path / "few" / f"00{number}.png").unlink()
    if count:
        assert cli.main(["embed", "run", "--prune", "--out", str(place)]) == 0
    else:
        from selfsight.embedding import store

        stored = store.read(place)
        store.write(place, (), None, stored.facts, (stored, np.zeros(0, np.int64)))
    picture = home / "photos" / "china" / "005.png"
    for question, most in (
        ([picture], count),
        (["--outliers"], count if count > 1 else 0),
        (["--diverse", "3"], count),
    ):
        assert len(json.loads(answer(search, place, question, tmp_path))["hits"]) == most
    assert json.loads(answer(search, place, ["--duplicates"], tmp_path))["hits"] == []
    if not count:
        assert "The index holds no picture." in search(place, picture)


def answer(search: Said, place: Path, question: list[Any], folder: Path) -> str:
    search(place, *question, "--json", folder / "answer.json")
    return (folder / "answer.json").read_text()


def test_documents_are_searched_by_documents(
    documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = "--method context --encoder words64 --for 4steps --batch 8 --size 64 --threads 1 --precision fp32 --quiet"
    run = tmp_path / "run"
    assert cli.main(["train", str(documents), *quick.split(), "--out", str(run)]) == 0
    passage = documents / "end" / "040.txt"
    hits = selfsight.search(run, passage, k=3)["hits"]
    assert hits[0]["file"] == str(passage)
    assert hits[0]["similarity"] == pytest.approx(1, abs=1e-4)
    shutil.copytree(documents, tmp_path / "documents")
    shutil.copy(passage, tmp_path / "documents" / "end" / "copy.txt")
    assert cli.main(["embed", str(run), str(tmp_path / "documents"), "--out", str(tmp_path / "vectors")]) == 0
    assert len(selfsight.search(tmp_path / "vectors", duplicates=True)["hits"]) == 2
    assert selfsight.search(run, outliers=True, k=2)["hits"]
    assert cli.main(["search", str(run), "3", "--sheet", str(tmp_path / "a.png")]) == 2
    assert "--sheet draws pictures" in capsys.readouterr().err
