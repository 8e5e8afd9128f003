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

import importlib.util
import ssl
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from absl import flags

from rtseg_jax.command_line import Command
from rtseg_jax.demo.litert_js import litert_js
from rtseg_jax.demo.models import read_model
from rtseg_jax.demo.server import LOOPBACK, DemoServer
from rtseg_jax.demo.sharing import ANY_ADDRESS, check_address, new_token, own_address, qr_code, tls_context
from rtseg_jax.demo.site import MOST_MODELS, File, site_of
from rtseg_jax.errors import UserError

LIBRARIES = {"cryptography": "makes the certificate", "segno": "draws the QR code"}
MOST_PORT = 65535

SHARED = """
{link}

On a phone in this network: scan the code. The browser warns, since nobody but this machine vouches for the certificate;
it gives the camera to HTTPS pages alone. Compare the certificate's SHA-256 where the browser shows it, then proceed:
{fingerprint}
Whoever has the link can open the page until Ctrl-C; the next start has another one.
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags."""
    text = partial(flags.DEFINE_string, flag_values=values)
    share = "Let other devices on this network open the page, by a link with a token, over HTTPS."
    flags.DEFINE_bool("share", False, share, flag_values=values)
    flags.DEFINE_integer("port", 8000, "Where to listen; 0 for any that is free.", 0, MOST_PORT, flag_values=values)
    text("address", None, "ADDRESS: with --share, this machine's IPv4 address for the link, where it has several.")
    text("packages", None, "DIR: folder with LiteRT.js as npm packs it, for machines without npm.")


def main(words: list[str], values: flags.FlagValues) -> None:
    """Serves the page until it is interrupted."""
    if not 1 <= len(words) <= MOST_MODELS:
        raise UserError(f"name one exported file, or two to see side by side: {len(words)} were named")
    if values.address is not None and not values.share:
        raise UserError("--address is for the link of --share; add --share, or leave it out")
    address = check_address(values.address) if values.address is not None else None
    if values.share:
        check_libraries()
    models = [read_model(Path(word)) for word in words]
    files = site_of(models, litert_js(Path(values.packages) if values.packages else None))
    print("\n".join(model.summary for model in models))
    if values.share:
        share(files, values.port, address or own_address())
    else:
        keep_local(files, values.port)


def check_libraries() -> None:
    """Raises `UserError` where a library that --share needs is missing."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        what = " and ".join(f"{name}, which {LIBRARIES[name]}" for name in missing)
        raise UserError(f"--share needs {what}; run: pip install 'rtseg_jax[demo]'")


def keep_local(files: Mapping[str, File], port: int) -> None:
    """Serves this machine alone."""
    with listen(LOOPBACK, port, files) as server:
        print(
            f"http://localhost:{server.port}/  for this machine only; --share is for others; Ctrl-C stops", flush=True
        )
        server.serve_forever()


def share(files: Mapping[str, File], port: int, address: str) -> None:
    """Serves everybody on the network who has the link."""
    token = new_token()
    context, fingerprint = tls_context(address)
    with listen(ANY_ADDRESS, port, files, token, context) as server:
        link = f"https://{address}:{server.port}/{token}/"
        print(qr_code(link) + SHARED.format(link=link, fingerprint=fingerprint), flush=True)
        server.serve_forever()


def listen(
    host: str, port: int, files: Mapping[str, File], token: str | None = None, context: ssl.SSLContext | None = None
) -> DemoServer:
    """The server; raises `UserError` where the port cannot be had."""
    try:
        return DemoServer((host, port), files, token, context)
    except OSError as error:
        raise UserError(f"--port={port} cannot be had ({error.strerror}); name another, or 0 for any") from error


COMMAND = Command(__doc__ or "", define_flags, main, words="MODEL.tflite [SECOND.tflite]", interrupted="stopped")


def run() -> None:
    """Entry point of the module."""
    COMMAND.start()


if __name__ == "__main__":
    run()
