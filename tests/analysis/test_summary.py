import json

import pytest

from siwatsystem.analysis.plots import plots
from siwatsystem.analysis.summary import summary, write
from siwatsystem.analysis.tally import Tally
from tests.analysis.results import result


def filled() -> Tally:
    tally = Tally()
    tally.begin()
    for index in range(4):
        tally.add(result(index, car=1))
    tally.add(result(4, car=2, brand="Borel"))
    tally.add(result(5, failure="broken"))
    tally.end(2.0)
    tally.begin()
    # Another material: this track 1 is another car.
    tally.add(result(0, car=1, brand="Borel"))
    return tally


def test_objects_are_counted_by_track_and_labels_by_object():
    found = summary(filled(), ["a", "b"], 3.5, ["bad"])
    assert found["objects"] == {"Car": {"distinct": 3, "boxes": 6, "most": 1}}
    assert found["labels"] == {"brand_classifier": {"Borel": 2, "Aster": 1}}
    assert (found["frames"], found["events"], found["seconds"], found["framesPerSecond"]) == (7, 6, 2.0, 2.0)
    assert (found["sources"], found["problems"]) == (["a", "b"], ["bad"])
    root, brand = found["nodes"]["root"], found["nodes"]["brand_classifier"]
    assert (root["ran"], root["meanMs"], root["p95Ms"]) == (6, 20.0, 20.0)
    assert (brand["ran"], brand["skipped"]) == (0, 6)
    assert "meanMs" not in brand


def test_without_tracks_events_are_counted():
    tally = Tally()
    for index in range(3):
        tally.add(result(index, car=1, tracked=False))
    found = summary(tally, ["a"], 1.0)
    assert found["objects"] == {"Car": {"distinct": None, "boxes": 3, "most": 1}}
    assert found["labels"] == {"brand_classifier": {"Aster": 3}}


def test_the_summary_is_written_whole_or_not_at_all(tmp_path):
    found = summary(filled(), ["a"], 1.0)
    path = tmp_path / "a.summary.json"
    write(found, path)
    assert json.loads(path.read_text()) == found
    (tmp_path / "dir").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write(found, tmp_path / "dir")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.summary.json", "dir"]


def test_plots_are_pictures_of_what_there_is(tmp_path):
    import cv2

    made = plots(filled(), tmp_path, "clip")
    assert [path.name for path in made] == [
        "clip.detections.png",
        "clip.confidences.png",
        "clip.timing.png",
    ]
    for path in made:
        picture = cv2.imread(str(path))
        assert picture is not None
        assert picture.shape[1] == 1170
        # Something is drawn beside white and text: the classes' blue.
        assert ((picture[..., 0] > 180) & (picture[..., 2] < 190)).sum() > 500
    assert plots(Tally(), tmp_path, "none") == []


def test_a_branch_that_never_ran_has_no_times_and_no_box(tmp_path):
    tally = Tally()
    tally.outcomes["root"].clear()
    tally.outcomes["never_reached"].clear()
    tally.add(result(0, car=1))
    found = summary(tally, ["a"], 1.0)
    assert found["nodes"]["never_reached"] == {"ran": 0, "skipped": 0, "failed": 0}
    assert list(tally.node_seconds) == ["root"]
    # What somebody has looked up and left empty is no time either.
    assert not tally.node_seconds["never_reached"]
    assert tmp_path / "clip.timing.png" in plots(tally, tmp_path, "clip")
    never = Tally()
    assert not never.node_seconds["root"]
    assert plots(never, tmp_path, "never") == []


def test_names_that_mean_something_elsewhere_are_drawn_as_they_are(tmp_path):
    names = [r"$\frac$", "_hidden", "make: model", "car[/x]", "$5 to $6"]
    tally = Tally()
    for index, name in enumerate(names):
        tally.add(result(index, car=index, brand=name))
    assert [key for key in tally.confidences if key[0]] == [("brand_classifier", name) for name in names]
    assert len(plots(tally, tmp_path, "clip")) == 3
