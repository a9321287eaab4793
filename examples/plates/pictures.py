"""Renders the pictures in the archive's tests/ and what is to be seen on them.

`python -m examples.plates.pictures`
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2

from .scenes import SHIPPED, PlateScene, render

TESTS = Path(__file__).parent / "archive" / "tests"
# Two cars each that are seen well, and every type twice.
PICTURES = tuple(SHIPPED[k] for k in (293, 441, 763, 786))
JPEG_QUALITY = 72


def expected(scene: PlateScene) -> list[dict[str, Any]]:
    """The cars of a picture with their plates' types, as tests/expected.json says it."""
    return [
        {
            "class": "Car",
            "box": [round(edge) for edge in car.box],
            "attributes": {"licensePlateType": plate.plate_type},
        }
        for car, plate in zip(scene.cars, scene.plates, strict=True)
        if car.box is not None and car.visible and plate is not None and plate.legible
    ]


def main() -> None:
    TESTS.mkdir(parents=True, exist_ok=True)
    cases: list[dict[str, Any]] = []
    for seed in PICTURES:
        scene = render(seed)
        target = TESTS / f"station-{seed - SHIPPED.start:03d}.jpg"
        cv2.imwrite(str(target), scene.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        cases.append({"file": target.name, "expect": expected(scene), "exactly": True})
        print(f"{target} {target.stat().st_size / 1e3:.0f} kB")
    (TESTS / "expected.json").write_text(json.dumps({"cases": cases}, indent=2) + "\n")


if __name__ == "__main__":
    main()
