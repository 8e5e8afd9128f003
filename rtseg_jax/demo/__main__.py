"""Shows exported files at work in a browser: camera, pictures, videos.

examples:
    rtseg_jax demo model.tflite
    rtseg_jax demo searched.tflite bisenetv2.tflite
    rtseg_jax demo model.tflite --share

The network runs in the browser (LiteRT.js: WebGPU, or WebAssembly on the processor); pictures stay there. Without
--share the page can be opened on this machine only.

With --share everybody on the network who has the link, token included, can open the page. Browsers give the camera to
HTTPS pages only, so the certificate is made on the spot, and a phone warns of it once: compare the fingerprint, then
proceed. It does not keep such a page for offline use; a page of this machine's own it does.
"""

from collections.abc import Mapping
from pathlib import Path

from absl import flags

from rtseg_jax.command_line import Command
from rtseg_jax.demo import opening
from rtseg_jax.demo.litert_js import litert_js
from rtseg_jax.demo.models import read_model
from rtseg_jax.demo.server import LOOPBACK
from rtseg_jax.demo.site import MOST_MODELS, File, site_of
from rtseg_jax.errors import UserError


def main(words: list[str], values: flags.FlagValues) -> None:
    """Serves the page until it is interrupted."""
    if not 1 <= len(words) <= MOST_MODELS:
        raise UserError(f"name one exported file, or two to see side by side: {len(words)} were named")
    asked = opening.opening_of(values)
    models = [read_model(Path(word)) for word in words]
    files = site_of(models, litert_js(asked.packages))
    print("\n".join(model.summary for model in models))
    if asked.share:
        server, _, told = opening.share(asked, files)
        with server:
            print(told, flush=True)
            server.serve_forever()
    else:
        keep_local(files, asked.port)


def keep_local(files: Mapping[str, File], port: int) -> None:
    """Serves this machine alone."""
    with opening.listen(LOOPBACK, port, files) as server:
        print(
            f"http://localhost:{server.port}/  for this machine only; --share is for others; Ctrl-C stops", flush=True
        )
        server.serve_forever()


WORDS = "MODEL.tflite [SECOND.tflite]"
COMMAND = Command(__doc__ or "", opening.define_flags, main, words=WORDS, interrupted="stopped")


def run() -> None:
    """Entry point of the module."""
    COMMAND.start()


if __name__ == "__main__":
    run()
