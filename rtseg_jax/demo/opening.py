"""From a table of files to a link that others can open: what the commands that serve a page do alike."""

import dataclasses
import importlib.util
import ssl
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from absl import flags

from rtseg_jax.demo.server import DemoServer, Endpoint
from rtseg_jax.demo.sharing import ANY_ADDRESS, check_address, new_token, own_address, qr_code, tls_context
from rtseg_jax.demo.site import File
from rtseg_jax.errors import UserError

LIBRARIES = {"cryptography": "makes the certificate", "segno": "draws the QR code"}
MOST_PORT = 65535

SHARED = """
{link}

On a phone in this network: scan the code. The browser warns, since nobody but this machine vouches for the certificate;
it gives {what} to HTTPS pages alone. Compare the certificate's SHA-256 where the browser shows it, then proceed:
{fingerprint}
Whoever has the link can open the page until Ctrl-C; the next start has another one.
"""


@dataclasses.dataclass(frozen=True)
class Opening:
    """For whom a page is.

    Attributes:
      share: whether other devices of the network can open it, over HTTPS.
      port: where to listen; 0 for any that is free.
      address: this machine's IPv4 address for the link; None to find it.
      packages: folder with LiteRT.js as npm packs it; None to let npm fetch it.
    """

    share: bool = False
    port: int = 8000
    address: str | None = None
    packages: Path | None = None


def define_flags(values: flags.FlagValues, what: str = "") -> None:
    """Defines the flags of an opening; `what` begins their texts where they are of one device among several."""
    text = partial(flags.DEFINE_string, flag_values=values)
    share = f"{what}Let other devices on this network open the page, by a link with a token, over HTTPS."
    flags.DEFINE_bool("share", False, share, flag_values=values)
    listen = f"{what}Where to listen; 0 for any that is free."
    flags.DEFINE_integer("port", Opening.port, listen, 0, MOST_PORT, flag_values=values)
    text("address", None, f"ADDRESS: {what}with --share, this machine's IPv4 address for the link.")
    text("packages", None, f"DIR: {what}folder with LiteRT.js as npm packs it, for machines without npm.")


def opening_of(values: flags.FlagValues) -> Opening:
    """What the flags say; raises `UserError` where they do not go together."""
    if values.address is not None and not values.share:
        raise UserError("--address is for the link of --share; add --share, or leave it out")
    address = check_address(values.address) if values.address is not None else None
    if values.share:
        check_libraries()
    return Opening(values.share, values.port, address, Path(values.packages) if values.packages else None)


def check_libraries() -> None:
    """Raises `UserError` where a library that --share needs is missing."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        what = " and ".join(f"{name}, which {LIBRARIES[name]}" for name in missing)
        raise UserError(f"--share needs {what}; run: pip install 'rtseg_jax[demo]'")


def listen(
    host: str,
    port: int,
    files: Mapping[str, File],
    token: str | None = None,
    context: ssl.SSLContext | None = None,
    posts: Mapping[str, Endpoint] | None = None,
) -> DemoServer:
    """The server; raises `UserError` where the port cannot be had."""
    try:
        return DemoServer((host, port), files, token, context, posts)
    except OSError as error:
        raise UserError(f"--port={port} cannot be had ({error.strerror}); name another, or 0 for any") from error


def share(
    opening: Opening,
    files: Mapping[str, File],
    path: str = "",
    posts: Mapping[str, Endpoint] | None = None,
    what: str = "the camera",
) -> tuple[DemoServer, str, str]:
    """A server for everybody on the network who has the link: server, link, and what to print."""
    address, token = opening.address or own_address(), new_token()
    context, fingerprint = tls_context(address)
    server = listen(ANY_ADDRESS, opening.port, files, token, context, posts)
    link = f"https://{address}:{server.port}/{token}/{path}"
    return server, link, qr_code(link) + SHARED.format(link=link, fingerprint=fingerprint, what=what)
