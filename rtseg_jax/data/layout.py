"""Where a published data set begins: in the folder named, further down, or in its archives."""

from collections.abc import Sequence
from pathlib import Path

from rtseg_jax.data.storage import Archives, Files, Folder, open_files
from rtseg_jax.errors import UserError


def find_layout(
    data_dir: str | Path, marker: str, places: Sequence[str], archives: Sequence[str], holds: str
) -> tuple[Files, str]:
    """Files, and the place among them below which the folder `marker` has files.

    An unpacked copy comes first, then archives in the folder that match one of the patterns `archives`; all of these
    are read as if unpacked side by side. `places` are empty or end in a slash.

    Raises:
      UserError: the marker is in none of the places; `holds` says what data_dir must be.
    """
    path = Path(data_dir).expanduser()
    tried: list[Files] = []
    if path.is_dir():
        tried.append(Folder(path))
        if packed := sorted({found for pattern in archives for found in path.glob(pattern)}):
            tried.append(Archives(packed))
    else:
        tried.append(open_files(path))
    for files in tried:
        for place in places:
            if files.names(place + marker):
                return files, place
    raise UserError(f"{path} has no {marker}/ with files; data_dir must be {holds}")
