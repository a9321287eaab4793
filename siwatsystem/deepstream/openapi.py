"""What FastAPI cannot know of the routes' description: answers that come before a route, and examples."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from siwatsystem.deepstream import rest, rest_analysis, rest_requests, to_server
from siwatsystem.deepstream.effects import refusal_body
from siwatsystem.deepstream.fields import Wire
from siwatsystem.deepstream.rest import Refusal

Json = dict[str, Any]

REFUSAL = "#/components/schemas/Refusal"
BODIES = {
    "400": "The body is no text, or nested too deep",
    "408": "The body did not come in time",
    "413": "The body is too large",
}
"""Before any route that reads one is run."""
INVALID = "Something in it is not as it must be"
SHARED = {"Credentials": [{"token": "the control or the view token"}], "LoggedIn": [{"role": "control"}]}
"""Of bodies that the worker has too."""
_UNUSED = ("HTTPValidationError", "ValidationError")


def describe(app: FastAPI) -> None:
    """Let `app` complete its description when it is first asked for it."""
    made = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = complete(made())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def complete(document: Json) -> Json:
    """The description, with what every refusal looks like and an example of every body."""
    schemas: Json = document["components"]["schemas"]
    schemas.setdefault("Refusal", Refusal.model_json_schema(ref_template="#/components/schemas/{model}"))
    _put_examples(schemas)
    for methods in document["paths"].values():
        for operation in methods.values():
            _refusals(operation)
            for media, refusal in _bodies(operation):
                _show(media, [refusal] if refusal else examples_of(media.get("schema", {}), schemas))
    for name in _UNUSED:
        schemas.pop(name, None)
    return document


def _put_examples(schemas: Json) -> None:
    """FastAPI leaves the nulls of examples out."""
    for module in (to_server, rest, rest_analysis, rest_requests):
        for name, model in vars(module).items():
            if name in schemas and isinstance(model, type) and issubclass(model, Wire) and model.EXAMPLE:
                schemas[name]["examples"] = [model.EXAMPLE, *model.MORE]


def examples_of(schema: Json, schemas: Json) -> list[Any]:
    """Examples of a body, made of those of the models in it; empty where they have none."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return schemas[name].get("examples") or SHARED.get(name, [])
    if "anyOf" in schema:
        return [each for part in schema["anyOf"] for each in examples_of(part, schemas)]
    if schema.get("type") == "array":
        return [[each] for each in examples_of(schema["items"], schemas)[:1]]
    if isinstance(schema.get("additionalProperties"), dict):
        found = examples_of(schema["additionalProperties"], schemas)
        return [{"stream_1763700000_0a1b2c3d": each} for each in found[:1]]
    return []


def _show(media: Json, examples: list[Any]) -> None:
    if examples and "examples" not in media:
        media["examples"] = {str(number): {"value": each} for number, each in enumerate(examples, 1)}


def _refusals(operation: Json) -> None:
    answers: Json = operation["responses"]
    if "requestBody" in operation:
        for status, reason in BODIES.items():
            answers.setdefault(status, {"description": reason})
    if _of_fastapi(answers.get("422", {})):
        # A path's parts are texts; only what has bounds or a type can be wrong.
        if "requestBody" in operation or any(each["in"] != "path" for each in operation["parameters"]):
            answers["422"] = {"description": INVALID}
        else:
            del answers["422"]
    for status, answer in answers.items():
        if int(status) >= 400:
            answer.setdefault("content", {"application/json": {"schema": {"$ref": REFUSAL}}})


def _of_fastapi(answer: Json) -> bool:
    return any(_UNUSED[0] in str(media.get("schema")) for media in answer.get("content", {}).values())


def _bodies(operation: Json) -> Iterator[tuple[Json, Json | None]]:
    """Every JSON body, and for a refusal its example."""
    for media in operation.get("requestBody", {}).get("content", {}).values():
        yield media, None
    for answer in operation["responses"].values():
        for kind, media in answer.get("content", {}).items():
            if kind == "application/json":
                refused = media.get("schema", {}).get("$ref") == REFUSAL
                reason = answer["description"]
                yield media, refusal_body(reason) if refused else None
