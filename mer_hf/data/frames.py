"""Frames of a clip on disk, by the number in their names."""

import re
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def numbered_frames(folder: Path) -> dict[int, Path]:
    """Pictures of a folder by the last whole number in their names, in the order of these numbers.

    Sheets speak of these numbers: `img46.jpg`, `reg_img46.jpg`, `006_05562.jpg` and `46.jpg` are frames 46
    and 5562; padding differs between clips.

    Args:
        folder (`Path`): Of one clip.

    Returns:
        `dict[int, Path]`: Empty if there is no such picture.

    Raises:
        ValueError: If two pictures have one number.
    """
    found: dict[int, Path] = {}
    for path in folder.iterdir():
        numbers = re.findall(r"\d+", path.stem)
        if path.suffix.lower() in SUFFIXES and numbers and not path.name.startswith("."):
            number = int(numbers[-1])
            if number in found:
                first, second = sorted((found[number].name, path.name))
                raise ValueError(f"{folder} holds two frames {number}: {first} and {second}")
            found[number] = path
    return dict(sorted(found.items()))
