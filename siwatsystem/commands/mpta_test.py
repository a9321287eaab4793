"""`siwat mpta test`: an archive proves itself with the pictures and clips that it carries."""

import json
import tempfile
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree  # nosec B405 # writes a report, parses nothing

import typer

from siwatsystem import archive, archive_tests
from siwatsystem.actions.base import OutboxEvent
from siwatsystem.actions.targets import Target
from siwatsystem.archive_tests import Report, Result
from siwatsystem.commands import console
from siwatsystem.config import Settings, load_settings
from siwatsystem.cores import usable_cores
from siwatsystem.errors import InvalidSetting, ModelInvalid
from siwatsystem.expectations import FILE, FOLDER, ExpectationsInvalid, read_cases
from siwatsystem.model_registry import ModelRegistry
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.opening import open_pipeline
from siwatsystem.pipeline.problems import PipelineInvalid
from siwatsystem.pipeline.spec import parse
from siwatsystem.signatures import Trust

Source = Annotated[Path, typer.Argument(exists=True, help="An archive, or a folder with pipeline.json.")]


def prove(
    source: Source,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    junit: Annotated[
        Path | None, typer.Option("--junit", dir_okay=False, help="Write the results as JUnit's XML, too.")
    ] = None,
) -> None:
    """Run the tests of an archive. Exit status 0: all passed (or there are none), 1: not, 2: wrong usage."""
    try:
        settings = load_settings()
    except InvalidSetting as error:
        console.leave(error.message, 2)
    with console.told():
        report = _run(source, settings)
        if junit is not None:
            junit.write_bytes(as_junit(report, source.stem))
    if as_json:
        typer.echo(json.dumps(as_values(report, source), ensure_ascii=False, indent=1))
    else:
        _print(report)
    if not report.results:
        typer.echo(f"siwat: {source} has no tests: there is no {FOLDER}/{FILE}, or no case in it", err=True)
    if not report.passed:
        raise typer.Exit(1)


def as_values(report: Report, source: Path) -> dict[str, object]:
    """The results, for programs."""
    return {
        "source": str(source),
        "passed": report.passed,
        "cases": [
            {
                "file": result.case.file,
                "passed": result.passed,
                "why": list(result.why),
                "frames": result.frames,
                "seconds": round(result.seconds, 3),
            }
            for result in report.results
        ],
    }


def as_junit(report: Report, name: str) -> bytes:
    """The results as build servers read them."""
    failed = [result for result in report.results if not result.passed]
    suite = ElementTree.Element(
        "testsuite",
        name=name,
        tests=str(len(report.results)),
        failures=str(len(failed)),
        time=f"{sum(result.seconds for result in report.results):.3f}",
    )
    for result in report.results:
        case = ElementTree.SubElement(
            suite, "testcase", classname=name, name=result.case.file, time=f"{result.seconds:.3f}"
        )
        if not result.passed:
            failure = ElementTree.SubElement(case, "failure", message=result.why[0])
            failure.text = "\n".join(result.why)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True) + b"\n"


class _Nowhere:
    """Takes the outbox's place; tests never reach it."""

    def register(self, target: Target) -> str:
        return target.key

    def release(self, key: str) -> None:
        pass

    def submit(self, event: OutboxEvent) -> None:
        pass


def _run(source: Path, settings: Settings) -> Report:
    with (
        tempfile.TemporaryDirectory(prefix="mpta-") as temporary,
        ThreadPoolExecutor(max(4, usable_cores()), thread_name_prefix="branch") as threads,
    ):
        folder = _folder(source, Path(temporary), settings)
        try:
            # What is wrong is told before models are loaded, which takes a while.
            if not read_cases(folder, parse(archive.read_pipeline(folder))):
                return Report(())
            with _opened(folder, settings, threads) as pipeline:
                return archive_tests.run(pipeline, folder, threads)
        except ExpectationsInvalid as error:
            lines = [f"{FOLDER}/{FILE}: {problem}" for problem in error.problems]
        except PipelineInvalid as error:
            lines = [f"{archive.PIPELINE}: {problem}" for problem in error.problems]
    for line in lines:
        typer.echo(f"siwat: {line}", err=True)
    raise typer.Exit(1)


def _folder(source: Path, temporary: Path, settings: Settings) -> Path:
    if not source.is_dir():
        folder = archive.extract(source, temporary / "archive", settings.models)
        Trust().check(folder)
        return folder
    if not (source / archive.PIPELINE).is_file():
        raise ModelInvalid(f"{source}: the folder holds no {archive.PIPELINE}")
    return source


@contextmanager
def _opened(folder: Path, settings: Settings, threads: ThreadPoolExecutor) -> Generator[Pipeline]:
    """The pipeline, exact: what is true of an archive must not depend on the machine."""
    runtime = settings.runtime.model_copy(update={"precision": "exact"})
    registry = ModelRegistry(runtime, settings.data_dir / "models" / ".runtime")
    try:
        opened = open_pipeline(folder, registry, _Nowhere(), threads, runtime)
        try:
            yield opened.pipeline
        finally:
            opened.close()
    finally:
        registry.close()


def _print(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not report.results:
        return
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = console.PIPED_WIDTH
    table = Table("", "file", "frames", "seconds", "why")
    for result in report.results:
        table.add_row(_mark(result), *map(Text, _cells(result)))
    out.print(table)
    failed = sum(not result.passed for result in report.results)
    typer.echo(f"{len(report.results) - failed} passed, {failed} failed")


def _mark(result: Result) -> str:
    return "[green]passed[/]" if result.passed else "[red]failed[/]"


def _cells(result: Result) -> tuple[str, ...]:
    return result.case.file, str(result.frames), f"{result.seconds:.2f}", "\n".join(result.why)
