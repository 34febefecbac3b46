import csv
import itertools
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tla.errors import UserError
from tla.sound import clips, digests, folds, layouts
from tla.sound.clips import load
from tla.sound.sets import gtzan
from tla.sound.sets.esc50 import TARGETS_OF_ESC10
from tla.sound.sets.own import write_list


def write_sound(path: Path, seed: int = 0, seconds: float = 0.2, rate: int = 8000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate)), rate)
    return path


def write_table(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Own data: three classes of six clips, one with a folder inside, and things that are no clips."""
    root = tmp_path / "pets"
    for label, i in itertools.product(("cat", "dog", "eel"), range(6)):
        write_sound(root / label / (f"deep/{i}.wav" if label == "eel" else f"{i}.wav"), seed=ord(label[0]) * 10 + i)
    write_sound(root / "dog" / "._0.wav")
    write_sound(root / ".hidden" / "0.wav")
    (root / "dog" / "notes.txt").write_text("woof")
    return root


ESC_HEADER = ("filename", "fold", "target", "category", "esc10", "src_file", "take")


def write_esc50(root: Path, targets: Sequence[int], flags: tuple[str, str] = ("True", "False")) -> Path:
    rows = []
    for target, fold in itertools.product(targets, range(1, 6)):
        name = f"{fold}-{1000 * target + fold}-A-{target}.wav"
        write_sound(root / "audio" / name, seed=100 * target + fold, seconds=0.02)
        flag = flags[0] if target in TARGETS_OF_ESC10 else flags[1]
        rows.append((name, fold, target, f"sound{target}", flag, 1000 * target + fold, "A"))
    write_table(root / "meta" / "esc50.csv", [ESC_HEADER, *reversed(rows)])
    return root


def write_gtzan(root: Path, names: Sequence[str]) -> Path:
    for i, name in enumerate(names):
        path = root / name.split(".")[0] / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound %d" % i)
    return root


def test_a_folder_per_class(folder: Path, tmp_path: Path) -> None:
    data = load(str(folder), tmp_path / "data")
    assert (data.name, data.classes, data.folds, data.folds_are) == ("pets", ("cat", "dog", "eel"), (1, 2, 3, 4, 5), "made")
    assert [data.clips[i].name for i in (0, 1, -1)] == ["cat/0.wav", "cat/1.wav", "eel/deep/5.wav"]
    assert len(data.clips) == len(set(data.sources)) == 18
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert (data.rate, data.seconds, data.frames, data.synthetic) == (8000, 0.2, 250, False)


@pytest.mark.parametrize(("seconds", "frames"), [(0.5, 250), (7.0, 350), (40.0, 1500)])
def test_width_of_own_pictures_follows_their_length(tmp_path: Path, seconds: float, frames: int) -> None:
    for label, i in itertools.product("ab", range(2)):
        write_sound(tmp_path / "x" / label / f"{i}.wav", seconds=seconds, rate=2000)
    data = load(str(tmp_path / "x"), tmp_path)
    assert (data.rate, data.seconds, data.frames) == (2000, seconds, frames)


def test_protocols_split_each_fold(folder: Path, tmp_path: Path) -> None:
    data = load(str(folder), tmp_path)
    kept = np.array([clip.fold for clip in data.clips])
    tested = []
    for fold in data.folds:
        paper, nested = data.split(fold, "paper"), data.split(fold, "nested")
        assert set(kept[paper.test]) == set(kept[nested.test]) == {fold}
        assert set(kept[nested.validation]) == {fold % 5 + 1}
        assert paper.validation.size == 0
        for split in (paper, nested):
            parts = np.concatenate([split.train, split.validation, split.test])
            assert sorted(parts) == list(range(18))
            assert all(part.dtype == np.int64 for part in (split.train, split.validation, split.test))
        tested += paper.test.tolist()
    assert sorted(tested) == list(range(18))


def test_a_fold_that_does_not_exist(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pets has no fold 6; it has 1, 2, 3, 4, 5"):
        load(str(folder), tmp_path).split(6)


def test_nested_needs_three_folds(tmp_path: Path) -> None:
    for label, i in itertools.product("ab", range(2)):
        write_sound(tmp_path / "x" / label / f"{i}.wav")
    data = load(str(tmp_path / "x"), tmp_path)
    assert data.split(1, "paper").test.size == 2
    with pytest.raises(UserError, match="has 2 folds; the nested protocol needs 3"):
        data.split(1, "nested")


def test_digest_tells_content_and_not_place(folder: Path, tmp_path: Path) -> None:
    data = load(str(folder), tmp_path)
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "other name")
    assert load(str(moved), tmp_path / "other").digest == data.digest
    write_sound(moved / "cat" / "0.wav", seed=12345)
    assert load(str(moved), tmp_path / "other").digest != data.digest
    assert data.without(["cat/0.wav"]).digest != data.digest
    assert len(data.without(["cat/0.wav"]).clips) == 17


def test_digest_does_not_depend_on_listing_order(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = load(str(folder), tmp_path).digest
    walk, iterdir = os.walk, Path.iterdir
    monkeypatch.setattr(os, "walk", lambda top: ((a, b, sorted(c, reverse=True)) for a, b, c in walk(top)))
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(sorted(iterdir(self), reverse=True)))
    assert load(str(folder), tmp_path).digest == digest


HOUR_NS = 3600 * 10**9


def test_unchanged_clips_are_not_read_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    digest = digests.digest_of

    def noted(path: Path) -> str:
        read.append(path)
        return digest(path)

    monkeypatch.setattr(digests, "digest_of", noted)
    monkeypatch.setattr(digests, "SETTLED_NS", -HOUR_NS)  # as if the clips had been there for an hour

    def contents() -> tuple[str, ...]:
        read.clear()
        return load(str(folder), tmp_path / "data").contents

    first = contents()
    assert len(read) == 18
    assert contents() == first
    assert not read
    write_sound(folder / "cat" / "0.wav", seed=777, seconds=0.3)
    assert contents() != first
    assert [path.name for path in read] == ["0.wav"]
    for broken in ("{", '{"a": 1}', "[1]", '{"%s": [1, 2]}' % (folder / "cat" / "1.wav")):
        (tmp_path / "data" / "contents.json").write_text(broken)
        assert contents()[1:] == first[1:]
        assert len(read) == 18


def test_folds_written_down_load_back_to_the_same_set(folder: Path, tmp_path: Path) -> None:
    data = load(str(folder), tmp_path)
    for place in (folder / "folds.csv", tmp_path / "elsewhere.csv"):
        write_list(data.listing, place)
        again = load(str(place), tmp_path)
        assert again.digest == data.digest
        assert again.clips == data.clips
        assert again.folds_are == "given"


def test_folds_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in-the-way").write_text("a file")
    with pytest.raises(UserError, match=r"folds\.csv: the folds cannot be written there"):
        write_list(load(str(folder), tmp_path).listing, tmp_path / "in-the-way" / "folds.csv")


CLIPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), min_size=20, max_size=80)


@settings(deadline=None, max_examples=60)
@given(CLIPS, st.randoms(use_true_random=False))
def test_made_folds_keep_sources_together_whatever_the_order(listed: list[tuple[str, int]], random: object) -> None:
    listed += [(label, 100 + 10 * i + j) for i, label in enumerate("abc") for j in range(5)]
    labels, sources = [label for label, _ in listed], [str(source) for _, source in listed]
    made = folds.make_folds(labels, sources)
    assert len(set(zip(sources, made, strict=True))) == len(set(sources))
    assert set(made) == {1, 2, 3, 4, 5}
    order = list(range(len(listed)))
    random.shuffle(order)  # type: ignore[attr-defined]
    again = folds.make_folds([labels[i] for i in order], [sources[i] for i in order])
    assert again == [made[i] for i in order]


def test_made_folds_are_stratified_and_seeded() -> None:
    labels = [label for label in "abcd" for _ in range(25)]
    sources = [str(i) for i in range(100)]
    made = folds.make_folds(labels, sources)
    assert set(Counter(zip(labels, made, strict=True)).values()) == {5}
    assert made != folds.make_folds(labels, sources, seed=1)
    assert made[:10] == [1, 3, 1, 3, 4, 4, 3, 5, 2, 4]  # must never change: runs are held out by it


def test_esc50_layout(tmp_path: Path) -> None:
    data = load(str(write_esc50(tmp_path / "ESC-50", range(50))), tmp_path)
    assert (data.name, data.folds, data.folds_are) == ("esc50", (1, 2, 3, 4, 5), "given")
    assert (data.rate, data.seconds, data.frames) == (44100, 5.0, 250)
    assert data.classes == tuple(f"sound{target}" for target in range(50))
    assert data.clips[0] == clips.Clip(
        name="audio/1-1-A-0.wav", path=(tmp_path / "ESC-50/audio/1-1-A-0.wav").resolve(), label=0, fold=1, source="1"
    )
    ten = load("esc10", tmp_path)
    assert ten.name == "esc10"
    assert ten.classes == tuple(f"sound{target}" for target in sorted(TARGETS_OF_ESC10))
    assert len(ten.clips) == 50


def test_esc10_needs_no_other_clips(tmp_path: Path) -> None:
    root = write_esc50(tmp_path / "ESC-50-master", range(50), flags=("TRUE", "FALSE"))
    for path in (root / "audio").iterdir():
        if int(path.stem.split("-")[-1]) not in TARGETS_OF_ESC10:
            path.unlink()
    assert len(load("esc10", tmp_path).clips) == 50
    with pytest.raises(UserError, match=r"there is no file .*and 199 more"):
        load("esc50", tmp_path)


def test_part_of_a_set_does_not_bear_its_name(tmp_path: Path) -> None:
    root = write_esc50(tmp_path / "ESC-50", sorted(TARGETS_OF_ESC10))
    assert load(str(root), tmp_path).name == "esc10"
    with pytest.raises(UserError, match="holds 10 classes and is not esc50"):
        load("esc50", tmp_path)
    assert load(str(write_esc50(tmp_path / "some", range(3))), tmp_path).name == "some"


def test_esc10_as_it_is(esc10: Path, tmp_path: Path) -> None:
    data = load(str(esc10), tmp_path)
    assert (data.name, len(data.clips), len(set(data.sources))) == ("esc10", 400, 304)
    assert data.classes[:3] == ("dog", "rooster", "rain")
    assert set(Counter((clip.fold, clip.label) for clip in data.clips).values()) == {8}
    assert data.digest == "39d355234f2d923585f94550b0159aab"  # runs are keyed by it


def test_urbansound8k_layout(tmp_path: Path) -> None:
    rows = []
    for number, fold in itertools.product(range(10), range(1, 11)):
        name = f"{100 * number + fold}-{number}-0-0.wav"
        write_sound(tmp_path / "u" / "audio" / f"fold{fold}" / name, seconds=0.02)
        rows.append((name, 100 * number + fold, 0, 4, 1, fold, number, f"{chr(122 - number)}"))
    header = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")
    write_table(tmp_path / "u" / "metadata" / "UrbanSound8K.csv", [header, *rows])
    data = load(str(tmp_path / "u"), tmp_path)
    assert (data.name, data.folds, data.frames, data.rate) == ("urbansound8k", tuple(range(1, 11)), 250, 22050)
    assert data.classes == tuple("zyxwvutsrq")
    assert data.clips[0].name == "audio/fold1/1-0-0-0.wav"
    assert data.clips[0].source == "1"


def test_gtzan_and_its_filtered_split(tmp_path: Path) -> None:
    names = [f"{genre}.{i:05d}" for genre in gtzan.GENRES for i in range(100) if (genre, i) != ("jazz", 54)]
    root = write_gtzan(tmp_path / "genres", names)
    (root / "blues" / "._blues.00000.wav").write_bytes(b"litter")
    data = load("gtzan", tmp_path)
    assert (data.classes, len(data.clips), data.folds, data.frames) == (gtzan.GENRES, 999, (1, 2, 3, 4, 5), 1500)
    assert Counter(data.labels[data.split(1).test].tolist()).most_common()[-1][1] >= 19
    filtered = load("gtzan-filtered", tmp_path)
    assert filtered.folds == (1,)
    paper, nested = filtered.split(1, "paper"), filtered.split(1, "nested")
    assert [len(part) for part in (nested.train, nested.validation, nested.test)] == [442, 197, 290]
    assert [len(part) for part in (paper.train, paper.validation, paper.test)] == [442, 0, 290]
    assert (paper.train == nested.train).all()
    assert filtered.clips[nested.test[0]].name == "blues/blues.00012.wav"
    with pytest.raises(UserError, match="has no fold 2; it has 1"):
        filtered.split(2)
    (root / "rock" / "rock.00010.wav").unlink()
    with pytest.raises(UserError, match=r"there is no rock\.00010, which the filtered split lists"):
        load("gtzan-filtered", tmp_path)


def test_filtered_lists_are_whole_and_apart() -> None:
    parts = [gtzan.filtered_names(part) for part in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [443, 197, 290]
    assert len(set().union(*parts)) == 930


def test_a_csv_with_folds_and_sources(folder: Path, tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [("source", "path", "label", "fold")]
    rows += [(f"s{i // 2}", f"pets/{label}/{i}.wav", label, i % 3) for label in ("cat", "dog") for i in range(6)]
    data = load(str(write_table(tmp_path / "list.csv", rows)), tmp_path)
    assert (data.name, data.classes, data.folds, len(data.clips)) == ("list", ("cat", "dog"), (0, 1, 2), 12)
    assert data.clips[3].source == "s1"
    assert data.clips[3].name == "cat/3.wav"


def test_clips_are_in_order_of_their_names(tmp_path: Path) -> None:
    for label, i in itertools.product(("a", "a b"), range(2)):  # a blank comes before a slash
        write_sound(tmp_path / "x" / label / f"{i}.wav")
    names = [clip.name for clip in load(str(tmp_path / "x"), tmp_path).clips]
    assert names == ["a b/0.wav", "a b/1.wav", "a/0.wav", "a/1.wav"]


def test_labels_that_are_numbers_are_in_order_of_value(tmp_path: Path) -> None:
    for label, i in itertools.product(("10", "9", "1"), range(2)):
        write_sound(tmp_path / "x" / label / f"{i}.wav")
    assert load(str(tmp_path / "x"), tmp_path).classes == ("1", "9", "10")


BAD_TABLES: dict[str, tuple[str | bytes, str]] = {
    "columns": ("file,label\na,b\n", r"lacks the column path; it has file,label, and needs path,label\[,fold\]\[,source\]"),
    "separator": ("path:label\na:b\n", "line 1: lacks the columns path, label; it has path:label.*commas, semicolons or tabs"),
    "no header": ("pets/cat/0.wav;cat\n", "line 1: lacks the columns path, label; it has pets/cat/0.wav;cat, and needs path,"),
    "labels in a cell": (
        "path,label\npets/cat/0.wav,cat;dog\npets/cat/1.wav,dog\npets/dog/0.wav,cat\n",
        r"list\.csv line 2: 'cat;dog' is more than one label: here a clip has one label",
    ),
    "labels in rows": (
        "path,label\npets/cat/0.wav,cat\npets/cat/0.wav,dog\n",
        r"line 3: .*0\.wav is listed already in line 2 as cat: here a clip has one label",
    ),
    "ragged semicolons": ("path;label\npets/cat/0.wav;cat;dog\n", "line 2: has 3 cells, the header 2"),
    "empty": ("", "it has no header"),
    "no rows": ("path,label\n\n", "lists no clips"),
    "missing file": ("path,label\npets/cat/0.wav,cat\nno.wav,dog\n", r"list\.csv line 3: there is no file .*no\.wav"),
    "twice": ("path,label\npets/cat/0.wav,a\n./pets/cat/0.wav,b\n", r"line 3: .* is listed already in line 2"),
    "ragged": ("path,label\npets/cat/0.wav\n", "line 2: has 1 cells, the header 2"),
    "fold": ("path,label,fold\npets/cat/0.wav,cat,first\n", "line 2: fold must be a whole number, not 'first'"),
    "no label": ("path,label\npets/cat/0.wav, \n", "line 2: path and label must not be empty"),
    "latin": (b"path,label\ncaf\xe9.wav,cat\n", r"list\.csv: is not UTF-8 text \(at byte 14\)"),
    "one class": ("path,label\npets/cat/0.wav,cat\npets/cat/1.wav,cat\n", "has one class only"),
    "one clip": ("path,label\npets/cat/0.wav,c\npets/cat/1.wav,c\npets/dog/1.wav,d\n", "class 'd' has one clip"),
    "one fold": (
        "path,label,fold\n" + "".join(f"pets/{label}/{i}.wav,{label},1\n" for label in ("cat", "dog") for i in (0, 1)),
        "all clips are in fold 1",
    ),
    "one source": (
        "path,label,source\n" + "".join(f"pets/{label}/{i}.wav,{label},{label}\n" for label in ("cat", "dog") for i in (0, 1)),
        "all clips of class 'cat' come from one source",
    ),
}


AS_PEOPLE_HAVE_THEM: dict[str, Callable[[str], str]] = {
    "as it should be": lambda text: text,
    "semicolons": lambda text: text.replace(",", ";"),
    "tabs": lambda text: text.replace(",", "\t"),
    "a byte order mark": lambda text: "\ufeff" + text,
    "capitals and blanks": lambda text: text.replace("path,label,fold", " Path , LABEL,Fold "),
    "backslashes": lambda text: text.replace("/", "\\"),
    "backslashes and a dot": lambda text: text.replace("pets/", ".\\pets\\"),
    "empty lines": lambda text: "\n" + text + "\n\n , , \n,,\n",
    "Windows": lambda text: text.replace("\n", "\r\n"),
    "quotes": lambda text: text.replace("pets/cat/1.wav", '"pets/cat/1.wav"').replace(",cat,", ', "cat" ,'),
    "quotes, semicolons, a mark": lambda text: "\ufeff" + text.replace("path", '"path"').replace(",", ";"),
    "other columns": lambda text: text.replace("\n", ',"a, b"\n').replace('"a, b"', "remarks", 1),
    "an empty column": lambda text: text.replace("\n", ",\n"),
}


@pytest.mark.parametrize("case", AS_PEOPLE_HAVE_THEM)
def test_lists_as_people_have_them(folder: Path, tmp_path: Path, case: str) -> None:
    rows = [f"pets/{label}/{i}.wav,{label},{i % 3}" for label in ("cat", "dog") for i in range(6)]
    text = "\n".join(["path,label,fold", *rows, ""])
    (tmp_path / "list.csv").write_bytes(AS_PEOPLE_HAVE_THEM[case](text).encode())
    data = load(str(tmp_path / "list.csv"), tmp_path)
    assert [(clip.name, clip.label, clip.fold) for clip in data.clips] == [
        (f"{label}/{i}.wav", number, i % 3) for number, label in enumerate(("cat", "dog")) for i in range(6)
    ]


def test_labels_with_punctuation_are_labels(folder: Path, tmp_path: Path) -> None:
    rows = [(f"pets/{label}/{i}.wav", f"Animal, {label}; {label[0]}") for label in ("cat", "dog") for i in range(6)]
    data = load(str(write_table(tmp_path / "list.csv", [("path", "label"), *rows])), tmp_path)
    assert data.classes == ("Animal, cat; c", "Animal, dog; d")


def test_folds_are_added_to_a_list_as_it_is(folder: Path, tmp_path: Path) -> None:
    rows = [f"pets\\{label}\\{i}.wav;{i} m;{label}" for i in range(6) for label in ("dog", "cat")]
    given = tmp_path / "list.csv"
    given.write_text("\n".join(["Path;Distance;Label", *rows, ""]))
    data = load(str(given), tmp_path)
    folds = {clip.name: clip.fold for clip in data.clips}
    with pytest.raises(UserError, match=r"list\.csv is there already: --overwrite replaces it"):
        write_list(data.listing, given, given)
    (tmp_path / "deep").mkdir()
    for place in (tmp_path / "deep" / "other.csv", given):
        write_list(data.listing, place, given, overwrite=True)
        head, *lines = place.read_text().splitlines()
        assert head == "Path;Distance;Label;fold"
        assert [line.split(";")[1:3] for line in lines] == [row.split(";")[1:] for row in rows]
        assert [line.split(";")[3] for line in lines] == [
            str(folds[f"{row[-3:]}/{row[0]}.wav"]) for row in (line.split(";")[1][0] + line.split(";")[2] for line in lines)
        ]
        again = load(str(place), tmp_path)
        assert (again.clips, again.folds_are) == (data.clips, "given")
    assert given.read_text().splitlines()[1].startswith("pets\\dog\\0.wav;0 m;dog;")
    write_list(load(str(given), tmp_path).listing, given, given)  # nothing changes: it may stay


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables(folder: Path, tmp_path: Path, case: str) -> None:
    content, message = BAD_TABLES[case]
    (tmp_path / "list.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        load(str(tmp_path / "list.csv"), tmp_path)


def only_text(root: Path) -> None:
    (root / "dog").mkdir()
    (root / "dog" / "a.txt").write_text("woof")


def no_decoder(root: Path) -> None:
    for label, i in itertools.product("ab", range(2)):
        (root / label).mkdir(exist_ok=True)
        (root / label / f"{i}.m4a").write_bytes(b"no sound")


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda root: None, "has nothing in it; a data set needs one sub-folder of sound files per class"),
    "no sub-folders": (lambda root: write_sound(root / "a.wav"), "has sound files but no sub-folders"),
    "no sounds": (only_text, "there are no sound files in its 1 sub-folders"),
    "wrapped": (lambda root: [write_sound(root / "in" / label / "0.wav") for label in "ab"], "did you mean .*in"),
    "one class": (lambda root: [write_sound(root / "a" / f"{i}.wav") for i in range(2)], "has one class only"),
    "one clip": (
        lambda root: [write_sound(root / label / f"{i}.wav") for i, label in enumerate("aab")],
        "class 'b' has one clip",
    ),
    "parts": (lambda root: [write_sound(root / part / "a" / "0.wav") for part in ("train", "test")], "are parts of a split"),
    "undecodable": (
        lambda root: write_gtzan(root, ["a.0", "a.1", "b.0", "b.1"]),
        r"none of the 4 sound files can be opened.*a\.0\.wav: cannot be decoded",
    ),
    "another format": (no_decoder, r"0\.m4a: cannot be decoded .* convert it first: ffmpeg -i NAME\.m4a NAME\.wav"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_bad_folders(tmp_path: Path, case: str) -> None:
    fill, message = BAD_FOLDERS[case]
    (tmp_path / "x").mkdir()
    fill(tmp_path / "x")
    with pytest.raises(UserError, match=message):
        load(str(tmp_path / "x"), tmp_path)


def test_unknown_and_missing_sets(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown data set 'ESC-50': did you mean esc50"):
        load("ESC-50", tmp_path)
    with pytest.raises(UserError, match=f"there is {', '.join((*layouts.SETS, 'toy'))}, or the path"):
        load("nonsense", tmp_path)
    with pytest.raises(UserError, match="there is no folder or file /no/such/place"):
        load("/no/such/place", tmp_path)
    with pytest.raises(UserError, match=r"urbansound8k is not in(.|\n)*python -m tla\.data urbansound8k(.|\n)*--data toy"):
        load("urbansound8k", tmp_path)


def test_bad_official_lists(tmp_path: Path) -> None:
    root = write_esc50(tmp_path / "e", range(2))
    table = root / "meta" / "esc50.csv"
    good = table.read_text()
    for old, new, message in [
        ("1-1-A-0.wav,1,0", "1-1-A-0.wav,one,0", "line .*fold and target must be whole numbers"),
        ("sound0,True", "sound0,maybe", "esc10 True or False"),
        ("1-1-A-0.wav,1,0,sound0", "1-1-A-0.wav,1,1,sound0", "other lines of the list contradict it"),
        ("1-1-A-0.wav,1,0,sound0", "1-1-A-0.wav,1,0,sound9", "other lines of the list contradict it"),
        ("src_file", "source", "lacks the column src_file"),
    ]:
        assert old in good
        table.write_text(good.replace(old, new, 1))
        with pytest.raises(UserError, match=message):
            load(str(root), tmp_path)


def test_a_clip_that_vanishes_is_named(folder: Path, tmp_path: Path) -> None:
    data = load(str(folder), tmp_path)
    (folder / "cat" / "0.wav").unlink()
    with pytest.raises(UserError, match=r"cat.0\.wav: cannot be read"):
        _ = data.digest
