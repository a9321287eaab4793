"""What may be launched, and the argument list that comes of it."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from siwatsystem.config import ControlSettings
from siwatsystem.deepstream.allowed import Allowed
from siwatsystem.deepstream.apps import Spec

SERVER = "ws://127.0.0.1:18000/deepstream/ws"


def allowed(folder: Path, **settings: Any) -> Allowed:
    return Allowed(ControlSettings(**{"config_folders": [folder], **settings}), SERVER)


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    (folder / "deep").mkdir(parents=True)
    (folder / "cars.toml").touch()
    (folder / "deep" / "cars.toml").touch()
    (tmp_path / "secret.toml").touch()
    (tmp_path / "configs-of-others").mkdir()
    (tmp_path / "configs-of-others" / "cars.toml").touch()
    (folder / "way-out.toml").symlink_to(tmp_path / "secret.toml")
    (folder / "way-in.toml").symlink_to(folder / "cars.toml")
    (folder / "round.toml").symlink_to(folder / "round.toml")
    return folder


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("cars.toml", None),
        ("deep/cars.toml", None),
        ("deep/../cars.toml", None),
        ("way-in.toml", None),
        ("../secret.toml", 403),
        ("../configs-of-others/cars.toml", 403),
        ("way-out.toml", 403),
        ("deep/../../secret.toml", 403),
        ("/etc/passwd", 403),
        ("/proc/self/environ", 403),
        ("nothing.toml", 404),
        ("../nothing.toml", 403),
        ("cars.toml/more", 404),
        ("deep", 422),
        ("round.toml", 422),
        ("a" * 300, 422),
        ("with\0nothing", 422),
    ],
)
def test_a_config_lies_below_an_allowed_folder(configs: Path, path: str, status: int | None):
    refused = allowed(configs).refused(Spec(str(configs / path)))
    assert (refused and refused.status) == status
    if refused is not None:
        assert "config_path" in refused.reason
        assert (status == 403) == ("control.config_folders" in refused.reason)


def test_without_folders_nothing_is_allowed(configs: Path):
    refused = allowed(configs, config_folders=[]).refused(Spec(str(configs / "cars.toml")))
    assert refused is not None
    assert (refused.status, "control.config_folders" in refused.reason) == (403, True)


def test_an_allowed_folder_may_itself_be_a_link(configs: Path, tmp_path: Path):
    link = tmp_path / "link"
    link.symlink_to(configs)
    assert allowed(link).refused(Spec(str(configs / "cars.toml"))) is None
    assert allowed(configs).refused(Spec(str(link / "cars.toml"))) is None


def test_a_path_is_never_taken_for_an_option(configs: Path):
    refused = allowed(configs).refused(Spec("--config=/etc/passwd"))
    assert refused is not None
    assert refused.status == 422


@pytest.mark.parametrize(
    ("arguments", "fine"),
    [
        (["--verbose"], True),
        ([], True),
        (["--verbose "], False),
        (["--verbose=1"], False),
        (["--verbose\n--server=ws://evil"], False),
        (["--verbose\n"], False),
        (["--server", "ws://evil"], False),
        (["; rm -rf /"], False),
        (["--"], False),
        (["--verbose", "-x"], False),
    ],
)
def test_additional_arguments_match_a_pattern_as_a_whole(configs: Path, arguments: list[str], fine: bool):
    refused = allowed(configs).refused(Spec(str(configs / "cars.toml"), additional_args=tuple(arguments)))
    assert (refused is None) == fine
    if refused is not None:
        assert (refused.status, "control.additional_args" in refused.reason) == (403, True)


def test_no_pattern_allows_the_end_of_options_or_a_zero(configs: Path):
    generous = allowed(configs, additional_args=["(?s).*"])
    spec = Spec(str(configs / "cars.toml"), additional_args=("--anything",))
    assert generous.refused(spec) is None
    for argument in ("--", "a\0b"):
        assert generous.refused(Spec(spec.config_path, additional_args=(argument,))) is not None


def test_our_own_app_is_run_where_nothing_else_is_named(configs: Path):
    spec = Spec("/configs/cars.toml", 4, additional_args=("--verbose",))
    assert allowed(configs).arguments("one", spec) == [
        *(sys.executable, "-m", "siwatsystem", "analyze", "--verbose"),
        *("--server", SERVER, "--config", "/configs/cars.toml", "--streams", "4"),
    ]
    assert "--streams" not in allowed(configs).arguments("one", Spec("/configs/cars.toml"))


def test_another_program_is_chosen_by_the_configs_name(configs: Path):
    programs = {
        "old_*.txt": ["/opt/old", "{config}"],
        "*.txt": ["/opt/new", "--server={server}", "-c", "{config}", "-n", "{streams}", "{instance}", "{x}"],
    }
    judge = allowed(configs, programs=programs)
    spec = Spec("/configs/{server}.txt", 3, additional_args=("--verbose",))
    assert judge.arguments("one", spec) == [
        *("/opt/new", f"--server={SERVER}", "-c", "/configs/{server}.txt", "-n", "3", "one", "{x}"),
        "--verbose",
    ]
    assert judge.arguments("one", Spec("/configs/old_cars.txt")) == ["/opt/old", "/configs/old_cars.txt"]
    assert judge.arguments("one", Spec("/configs/cars.toml"))[1:4] == ["-m", "siwatsystem", "analyze"]


@given(st.text(min_size=1), st.lists(st.text(), max_size=4))
def test_whatever_a_client_says_is_one_argument_each(path: str, additional: list[str]):
    judge = Allowed(ControlSettings(programs={"*": ["/opt/app", "-c", "{config}"]}), SERVER)
    name = path.replace("/", "_")
    made = judge.arguments("one", Spec(f"/configs/{name}", additional_args=tuple(additional)))
    assert made == ["/opt/app", "-c", f"/configs/{name}", *additional]


CONTAINER: dict[str, Any] = {
    "docker": True,
    "docker_containers": ["ds-*"],
    "config_folders": ["/configs"],
    "container_programs": {"*.txt": ["/opt/ds", "-c", "{config}"]},
}


@pytest.mark.parametrize(
    ("changes", "container", "path", "status", "setting"),
    [
        ({}, "ds-1", "/configs/cars.txt", None, ""),
        ({"docker": False}, "ds-1", "/configs/cars.txt", 403, "control.docker "),
        ({}, "database", "/configs/cars.txt", 403, "control.docker_containers"),
        ({}, "ds-1", "/etc/passwd", 403, "control.config_folders"),
        ({"config_folders": []}, "ds-1", "/configs/cars.txt", 403, "control.config_folders"),
        ({}, "ds-1", "/configs/cars.toml", 403, "control.container_programs"),
        ({}, "ds-1", "/configs/../etc/passwd.txt", 422, "config_path"),
        ({}, "ds-1", "configs/cars.txt", 422, "config_path"),
        ({}, "ds-1", "//configs/cars.txt", 403, "config_path"),
    ],
)
def test_a_container_is_entered_only_where_settings_allow_it(
    tmp_path: Path, changes: dict[str, Any], container: str, path: str, status: int | None, setting: str
):
    judge = allowed(tmp_path, **{**CONTAINER, **changes})
    refused = judge.refused(Spec(path, docker_container=container))
    assert (refused and refused.status) == status
    if refused is not None:
        assert setting in refused.reason


def test_containers_are_not_entered_by_default(configs: Path):
    refused = allowed(configs).refused(Spec(str(configs / "cars.toml"), docker_container="any"))
    assert refused is not None
    assert refused.status == 403


def test_a_pattern_that_is_none_is_a_bad_setting():
    with pytest.raises(ValidationError, match="regular expression"):
        ControlSettings(additional_args=("(",))
