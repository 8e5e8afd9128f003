"""The server hands out its table and nothing else, whatever it is asked."""

import hashlib
import http.client
import io
import json
import os
import re
import shutil
import socket
import ssl
import tarfile
import threading

import numpy as np
import pytest

from rtseg_jax.demo import litert_js as runtime
from rtseg_jax.demo import server as serving
from rtseg_jax.demo.__main__ import COMMAND
from rtseg_jax.demo.litert_js import OTHER_PACKAGE, Package, for_browsers, install
from rtseg_jax.demo.models import read_model
from rtseg_jax.demo.opening import LIBRARIES, SHARED, check_libraries
from rtseg_jax.demo.server import HEADERS, LOOPBACK, DemoServer, Endpoint
from rtseg_jax.demo.sharing import check_address, new_token, qr_code, tls_context
from rtseg_jax.demo.site import KINDS, PAGE, File, site_of
from rtseg_jax.errors import UserError

FILES = {
    "": File(b"<p>", KINDS[".html"]),
    "a.js": File(b"1", KINDS[".js"]),
    "models/0.tflite": File(b"\0" * 999, "x/y"),
}
TOKEN = new_token()


@pytest.fixture
def serve():
    """A function that starts a server; all of them are stopped at the end."""
    running = []

    def start(files=FILES, token=None, context=None, posts=None):
        server = DemoServer((LOOPBACK, 0), files, token, context, posts)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def raw(server, request):
    """What comes back for bytes, to the end of the connection."""
    with socket.create_connection((LOOPBACK, server.port), timeout=10) as connection:
        received = []
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                received.append(part)
        except OSError:
            pass  # it hung up in the midst of it
        return b"".join(received)


def test_files_of_the_table(serve):
    server = serve()
    for path, file in FILES.items():
        answer, content = ask(server, f"/{path}?x=1")
        assert (answer.status, content, answer.headers["Content-Type"]) == (200, file.content, file.kind)
        assert HEADERS.items() <= dict(answer.headers).items()
        answer, content = ask(server, f"/{path}", "HEAD")
        assert (answer.status, content, answer.headers["Content-Length"]) == (200, b"", str(len(file.content)))
        answer, content = ask(server, f"/{path}", If_None_Match=file.tag)
        assert (answer.status, content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["/../server.py", "/..%2f..%2fetc/passwd", "//a.js/../a.js", "/./a.js", "/a.js/", "/A.JS", "/%61.js", "/a.js%00",
     "/models/", "/models/../a.js", "/etc/passwd", "http://localhost/a.js", "/\\..\\a.js", "/a.js#x", "*"],
)  # fmt: skip
def test_other_paths_are_not_there(serve, path):
    answer, content = ask(serve(), path)
    assert (answer.status, content) == (404, b"There is no such file.\n")


def test_without_the_token_nothing_is_there(serve):
    server = serve(token=TOKEN)
    for path, file in FILES.items():
        assert ask(server, f"/{TOKEN}/{path}")[1] == file.content
        for wrong in (
            "",
            f"/{TOKEN[:-1]}",
            f"/{TOKEN}x",
            f"/{TOKEN.swapcase()}",
            "/%C3%A9",
        ):
            answer, content = ask(server, f"{wrong}/{path}")
            assert answer.status == 404
            assert file.content not in content
            assert TOKEN not in content.decode() + str(answer.headers)
    assert ask(server, f"/{TOKEN}")[0].status == 404
    assert len({new_token() for _ in range(50)}) == 50
    assert all(re.fullmatch(r"[\w-]{22}", new_token()) for _ in range(50))


def test_names_of_other_sites_are_refused(serve):
    server = serve()
    for host, status in (
        ("localhost", 200),
        (f"localhost:{server.port}", 200),
        ("127.0.0.1:80", 200),
        ("evil.example", 421),
        ("localhost.evil.example:80", 421),
        ("", 421),
    ):
        assert ask(server, "/a.js", Host=host)[0].status == status, host


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "GIT", "_answer"])
def test_other_methods(serve, method):
    answer, content = ask(serve(), "/a.js", method)
    assert (answer.status, answer.headers["Allow"], content) == (405, "GET, HEAD", b"Only GET and HEAD.\n")


def test_bodies_are_not_read(serve):
    server = serve()
    for header in (b"Content-Length: 99999999999999999999", b"Content-Length: -1", b"Transfer-Encoding: chunked"):
        answer = raw(server, b"GET /a.js HTTP/1.1\r\nHost: localhost\r\n" + header + b"\r\n\r\n" + b"x" * 100)
        assert answer.startswith(b"HTTP/1.1 413 "), answer
        assert answer.count(b"HTTP/1.1") == 1  # the body is not taken for another request
    assert ask(server, "/a.js", Content_Length="0")[0].status == 200


def noise(rng):
    """Requests that nobody sends by mistake, and bytes that are none."""
    pieces = [b"POST", b"POST /p HTTP/1.1", b"Content-Type: application/json", b"{}", b"GET", b"HEAD", b" ",
              b"/", b"a.js", b"..", b"%2e%2e/", b"\r\n", b"\n", b"\0", b"HTTP/1.1", b"HTTP/9.9",
              b"Host: localhost", b":", b"\xff" * 9, b"Content-Length: 5", b"A" * 70000, b"X: y\r\n" * 150]  # fmt: skip
    return b"".join(pieces[i] for i in rng.integers(len(pieces), size=rng.integers(1, 12))) + b"\r\n\r\n"


def test_noise(serve, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    taken = []
    server, rng = serve(token=TOKEN, posts={"p": Endpoint(taken.append, 1 << 20)}), np.random.default_rng(0)
    for _ in range(300):
        answer = raw(server, noise(rng))
        assert not answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 5")) or b" 505 " in answer[:20], answer[:300]
        assert all(file.content not in answer for file in FILES.values() if len(file.content) > 3)
    assert ask(server, f"/{TOKEN}/a.js")[1] == b"1"
    assert taken == []
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_more_connections_than_it_takes_are_closed(serve, monkeypatch):
    monkeypatch.setattr(serving, "MOST_CONNECTIONS", 3)
    server = serve()
    silent = [socket.create_connection((LOOPBACK, server.port)) for _ in range(3)]
    with socket.create_connection((LOOPBACK, server.port), timeout=10) as another:
        assert another.recv(1) == b""
    silent.pop().close()
    for connection in silent:
        connection.close()
    for _ in range(100):  # the threads notice it one by one
        try:
            if ask(server, "/a.js")[0].status == 200:
                break
        except (http.client.RemoteDisconnected, ConnectionResetError):
            pass
    else:
        pytest.fail("closed connections are still counted")


def test_https_with_a_certificate_of_its_own(serve):
    context, fingerprint = tls_context("127.0.0.1")
    server = serve(token=TOKEN, context=context)
    trusting = ssl.create_default_context(cadata=ssl.get_server_certificate((LOOPBACK, server.port)))
    connection = http.client.HTTPSConnection(LOOPBACK, server.port, timeout=10, context=trusting)
    connection.request("GET", f"/{TOKEN}/a.js")  # the address is checked against the certificate
    assert connection.getresponse().read() == b"1"
    digest = hashlib.sha256(connection.sock.getpeercert(binary_form=True)).digest()
    assert fingerprint == digest.hex(":").upper()
    connection.close()
    assert raw(server, b"GET / HTTP/1.1\r\n\r\n")[:5] != b"HTTP/"  # without TLS it says nothing
    with pytest.raises(ssl.SSLCertVerificationError):
        http.client.HTTPSConnection(LOOPBACK, server.port, timeout=10).connect()


# ---- what is in the table


def test_site(model_files):
    wasm = {"index.js": b"js", "litert_wasm_internal.wasm": b"wasm"}
    files = site_of([read_model(path) for path in model_files], wasm)
    page = {path.name for path in PAGE.iterdir() if path.is_file()}
    assert set(files) == page | {
        *("", "models.json", "contents.json", "models/0.tflite", "models/1.tflite"),
        *("litert/index.js", "litert/litert_wasm_internal.wasm"),
    }
    assert files[""] == files["index.html"]
    small, colours = json.loads(files["models.json"].content)
    assert files["models/1.tflite"].content == model_files[1].read_bytes()
    assert (small["name"], small["file"], small["labels"][0]) == ("small", "models/0.tflite", "rail")
    assert (small["head"], small["palette"][1], small["numbers"]) == ("lowres_logits", [30, 160, 60], "float32")
    assert small["input"] == {"shape": [1, 48, 80, 3], "type": "float32", "scale": 0, "zero": 0}
    assert (small["output"]["shape"], colours["output"]["shape"]) == ([1, 24, 40, 5], [1, 48, 80, 3])
    kept = json.loads(files["contents.json"].content)
    assert set(kept) == set(files) - {"", "contents.json", "service_worker.js", "litert/litert_wasm_internal.wasm"} | {
        "./"
    }
    assert read_model(model_files[0]).summary == "small: 5 classes, 48×80, float32, 0.00 MB"


def test_models_that_cannot_be_shown(tmp_path, model_files):
    (tmp_path / "m.tflite").write_bytes(model_files[0].read_bytes()[:300])
    with pytest.raises(UserError, match=r"m\.tflite: no metadata in this file; export it"):
        read_model(tmp_path / "m.tflite")
    with pytest.raises(UserError, match="Is a directory; name an exported"):
        read_model(tmp_path)


# ---- LiteRT.js


def packed(folder, content=b'import {a} from "@litertjs/wasm-utils"'):
    """A package as npm packs it, with its pin."""
    package = Package("core", "", (("index.js", "dist/index.js", hashlib.sha256(content).hexdigest()),))
    with tarfile.open(folder / package.file, "w:gz") as archive:
        for name in ("package/dist/index.js", "package/../../../outside", "/tmp/outside"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    pin = hashlib.sha256((folder / package.file).read_bytes()).hexdigest()
    return Package("core", pin, package.members)


def test_packages_are_checked_and_kept(tmp_path, monkeypatch):
    packages, cache = tmp_path / "packages", tmp_path / "cache"
    packages.mkdir()
    package = packed(packages)
    monkeypatch.setattr(runtime, "PACKAGES", (package,))
    monkeypatch.setattr(runtime, "DIGESTS", {name: digest for name, _, digest in package.members})
    monkeypatch.setenv("RTSEG_JAX_CACHE", str(cache))
    assert runtime.litert_js(packages) == {"index.js": b'import {a} from "./wasm-utils.js"'}
    (kept,) = cache.rglob("*.js")
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {packages / package.file, kept}
    shutil.rmtree(packages)
    assert runtime.litert_js(packages)  # from the cache
    kept.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"litertjs-core-\S+\.tgz cannot be read \(No such file or directory\)"):
        runtime.litert_js(packages)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="fetched by npm, which is not installed; install it, or save https://"):
        runtime.litert_js()
    packages.mkdir()
    packed(packages, b"another")
    with pytest.raises(UserError, match=r"is not core \S+ as it was published; fetch it again"):
        install(packages, cache / "x")
    assert not (cache / "x").exists()


def test_npm_that_fails(tmp_path, monkeypatch, capsys):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network gone' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    monkeypatch.setenv("RTSEG_JAX_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"npm pack of LiteRT\.js failed \(npm error network gone\); try again"):
        runtime.litert_js()
    assert "fetching LiteRT.js" in capsys.readouterr().out
    assert not (tmp_path / "cache").exists()


def test_one_import_is_changed():
    assert for_browsers(b'a "@litertjs/core" ' + OTHER_PACKAGE) == b'a "@litertjs/core" "./wasm-utils.js"'


# ---- the command


def test_what_share_says(capsys):
    link = "https://192.168.1.5:8000/" + "x" * 22 + "/"
    code = qr_code(link)
    lines = code.splitlines()
    assert max(map(len, lines)) < 400
    assert SHARED.format(link=link, fingerprint="AB:CD", what="the camera").splitlines()[1] == link


def test_wrong_words(model_files, capsys):
    one = str(model_files[0])
    for arguments, answer in (
        ([], "name one exported file, or two to see side by side: 0 were named"),
        ([one] * 3, "name one exported file, or two to see side by side: 3 were named"),
        ([one, "--address=192.168.1.5"], "--address is for the link of --share; add --share, or leave it out"),
        ([one, "--share", "--address=phone"], "--address is 'phone': it must be this machine's IPv4 address"),
    ):
        assert COMMAND.execute(arguments, "demo") == 2
        assert answer in capsys.readouterr().err
    assert check_address("192.168.1.5") == "192.168.1.5"


def test_share_without_its_libraries(monkeypatch):
    check_libraries()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"cryptography, which makes .* and segno, .*pip install 'rtseg_jax\[demo\]'"):
        check_libraries()
    assert set(LIBRARIES) == {"cryptography", "segno"}


def test_a_port_that_is_taken(serve, model_files, monkeypatch, capsys):
    monkeypatch.setattr("rtseg_jax.demo.__main__.litert_js", lambda packages: {})
    port = serve().port
    assert COMMAND.execute([str(model_files[0]), f"--port={port}"], "demo") == 2
    assert f"--port={port} cannot be had (Address already in use)" in capsys.readouterr().err
