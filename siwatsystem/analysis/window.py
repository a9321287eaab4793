"""A window that shows annotated frames, where there is a screen."""

import subprocess
import sys

from siwatsystem.frames import Image

TITLE = "siwat run - q quits"
_PROBE = "import cv2; cv2.namedWindow('probe'); cv2.waitKey(1)"
_PROBE_SEC = 20.0


def trouble() -> str | None:
    """Why no window can be opened here; None where one can.

    Tried in another process: without a screen the window library ends the process it is in.
    """
    import cv2

    if not hasattr(cv2, "imshow") or "NONE" in _gui(cv2.getBuildInformation()):
        return "this OpenCV was built without windows (opencv-python-headless)"
    try:
        command = [sys.executable, "-c", _PROBE]
        done = subprocess.run(command, capture_output=True, check=False, timeout=_PROBE_SEC)  # noqa: S603 # nosec B603 # our own line
    except subprocess.TimeoutExpired:
        return "the screen does not answer"
    return None if done.returncode == 0 else "there is no screen here (DISPLAY names none that works)"


class Window:
    """Shows the newest frame until it is closed or `q` is pressed."""

    def __init__(self) -> None:
        import cv2

        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)

    def show(self, image: Image) -> bool:
        """Whether to go on."""
        import cv2

        cv2.imshow(TITLE, image)
        pressed = cv2.waitKey(1) & 0xFF
        return pressed not in (ord("q"), 27) and cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        import cv2

        cv2.destroyAllWindows()


def _gui(build: str) -> str:
    return next((line for line in build.splitlines() if line.strip().startswith("GUI:")), "NONE")
