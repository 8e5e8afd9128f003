"""A phone that is a folder: `fake_adb.sh` stands in for adb."""

import os
import shutil
from pathlib import Path

SCRIPT = Path(__file__).with_name("fake_adb.sh")
PRINTS = Path(__file__).parent / "latency" / "prints"
PIXEL = "R5CT                   device usb:1-4 product:panther model:Pixel_7 device:panther transport_id:1"
OTHER = "emulator-5554          device product:sdk model:sdk_gphone64 device:emu64xa transport_id:2"
LOCKED = "9A271                  unauthorized usb:1-5 transport_id:3"
FOLDER = "/data/local/tmp/rtseg_jax"


class FakePhone:
    """Puts a fake adb into a folder, to be named first on PATH."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        shutil.copy(SCRIPT, folder / "adb")
        self.program = folder / "android_aarch64_benchmark_model"
        self.program.write_bytes(b"the program")
        self.answer(devices=PIXEL, output="gpu.txt", battery=(271,))
        properties = {"ro.product.model": "Pixel 7", "ro.build.version.release": "14", "ro.board.platform": "gs201"}
        for name, value in properties.items():
            (folder / f"getprop.{name}").write_text(f"{value}\n")

    @property
    def path(self) -> str:
        return f"{self.folder}:{os.environ['PATH']}"

    def answer(self, devices: str | None = None, output: str | None = None, battery: tuple[int, ...] = ()) -> None:
        """What the phone says from now on."""
        if devices is not None:
            (self.folder / "devices").write_text(f"{devices}\n")
        if output is not None:
            self.print((PRINTS / output).read_text())
        if battery:
            (self.folder / "battery").write_text("".join(f"{tenths}\n" for tenths in battery))

    def print(self, output: str, status: int = 0) -> None:
        """What benchmark_model prints, and its exit status."""
        (self.folder / "output").write_text(output)
        (self.folder / "status").write_text(f"{status}\n")

    def vanish_after(self, calls: int | None) -> None:
        """Goes away after that many calls from now, or comes back."""
        file = self.folder / "vanish_after"
        if calls is None:
            file.unlink()
        else:
            file.write_text(str(len(self._calls) + calls))

    @property
    def _calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def calls(self, *words: str) -> list[list[str]]:
        """Arguments of calls that hold all the words, and of no others."""
        rows = [line.split("\t") for line in self._calls]
        return [row for row in rows if set(words) <= set(row)]

    def forget(self) -> None:
        """Starts a new record."""
        (self.folder / "calls").unlink()
