from bench.carwise import Acts, acted_on, acts_of, car_at, hidden_of, moments_of
from bench.followed import Followed
from bench.identity import Box, Identity
from bench.tracking_report import Clip, Side, passed, report, tables, verdicts
from bench.traffic import Shown

LEFT: Box = (0.0, 0.0, 100.0, 100.0)
RIGHT: Box = (300.0, 0.0, 400.0, 100.0)


def shown(box: Box, visible: float = 1.0, nameable: bool = True) -> Shown:
    return Shown(box, visible, nameable)


BOTH = {0: shown(LEFT), 1: shown(RIGHT)}


def test_cars_that_act_once_never_and_twice() -> None:
    frames = [{**BOTH, 2: shown((200.0, 0.0, 260.0, 60.0))}] * 4
    tracks = [{}, {1: LEFT, 2: RIGHT}, {}, {3: RIGHT}]
    followed = Followed(tracks, [(1, 1), (1, 2), (3, 3)], [{}] * 4)
    said = acts_of(followed, frames, ["A", "B", "C"])
    assert (said.cars, said.once, said.never, said.again, said.astray) == (3, 1, 1, 1, 0)


def test_a_car_that_was_seen_twice_is_not_asked_for() -> None:
    frames = [BOTH, BOTH, {0: shown(LEFT)}]
    assert acts_of(Followed([{1: LEFT}, {}, {}], [(0, 1)], [{}] * 3), frames, ["A", "B"]).cars == 1


def test_a_hidden_car_takes_its_action_but_is_not_seen() -> None:
    frames = [{0: shown(LEFT, visible=0.1)}] * 3 + [{0: shown(LEFT)}] * 3
    said = acts_of(Followed([{1: LEFT}, *[{}] * 5], [(0, 1)], [{}] * 6), frames, ["A"])
    assert (said.cars, said.once, said.astray) == (1, 1, 0)


def test_an_action_on_nothing_is_astray() -> None:
    said = acts_of(Followed([{1: RIGHT}, {}, {}], [(0, 1)], [{}] * 3), [{0: shown(LEFT)}] * 3, ["A"])
    assert (said.never, said.astray) == (1, 1)


def test_an_action_on_a_box_that_fits_no_car_is_of_the_car_that_the_track_is_on_next() -> None:
    wide: Box = (0.0, 0.0, 400.0, 100.0)
    followed = Followed([{1: RIGHT}, {}, {1: wide}, {1: LEFT}, {}])
    assert acted_on(followed, [BOTH] * 5, 2, 1) == 0
    assert acted_on(followed, [BOTH] * 5, 0, 1) == 1
    assert acted_on(Followed([{1: wide}]), [BOTH], 0, 1) is None


def test_the_last_brand_that_was_told_counts() -> None:
    frames = [BOTH] * 3
    brands = [{LEFT: "wrong", RIGHT: "B"}, {LEFT: "A"}, {}]
    said = acts_of(Followed(brands=brands), frames, ["A", "B"])
    assert (said.named, said.right, said.unnamed) == (2, 2, 0)
    said = acts_of(Followed(brands=[{}, {}, {LEFT: "B"}]), frames, ["A", "B"])
    assert (said.named, said.right, said.unnamed) == (2, 0, 1)


def test_a_front_that_never_showed_is_not_asked_for() -> None:
    frames = [{0: shown(LEFT, nameable=False)}] * 5
    assert acts_of(Followed(brands=[{}] * 5), frames, ["A"]).named == 0


def test_car_at_takes_the_best_and_only_if_it_fits() -> None:
    near = {0: shown(LEFT), 1: shown((20.0, 0.0, 120.0, 100.0))}
    assert car_at(near, (18.0, 0.0, 118.0, 100.0)) == 1
    assert car_at(near, RIGHT) is None
    assert car_at({}, LEFT) is None


def test_what_counts_is_asked_for_and_the_rest_ignored() -> None:
    frame = {0: shown(LEFT), 1: shown(RIGHT, visible=0.4), 2: shown((500.0, 0.0, 510.0, 10.0))}
    [moment] = moments_of([frame], Followed(tracks=[{5: LEFT}]))
    assert (set(moment.objects), set(moment.ignored), dict(moment.tracks)) == ({0}, {1, 2}, {5: LEFT})


def test_hidden_for_a_while() -> None:
    gone = {0: shown(LEFT, visible=0.0), 1: shown(RIGHT)}
    assert hidden_of([BOTH, gone, BOTH, {0: shown(LEFT)}]) == 1


def clip(agreed: int, theirs: int, once: int) -> Clip:
    sides = {
        "ours": Side(Identity(100, 100, agreed), 5, 5),
        "botsort": Side(Identity(100, 100, theirs), 5, 8),
    }
    return Clip("x", 10, 5, 0, sides, Acts(cars=100, once=once, named=100, right=98))


def test_verdicts() -> None:
    assert passed([clip(90, 90, 97)])
    assert verdicts([clip(90, 91, 97)], 10)["at_least_as_good"] is False
    assert verdicts([clip(89, 80, 97)], 10)["idf1"] is False
    assert verdicts([clip(90, 80, 96)], 10)["once"] is False
    assert not passed([])


def test_the_report_and_the_tables_say_it() -> None:
    said = report([clip(90, 80, 97), clip(100, 80, 97)], 12.34)
    assert said["rates"]["10"]["sides"]["ours"]["idf1"] == 0.95
    assert said["rates"]["10"]["acts"]["cars"] == 200
    assert said["passed"] is True
    assert len(tables([clip(90, 80, 97)], 1.0)) == 2
