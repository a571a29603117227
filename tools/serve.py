"""Serve the rendered book with kernels behind it: readers change the code in a page and run it there.

One Jupyter server, on this machine only, has both the pages and the kernels, so that pages need no other address.
The files of the book stay as they are: what makes a page live is added to it as it is sent.
"""

import argparse
import os
import secrets
import sys
from mimetypes import guess_type
from pathlib import Path
from typing import Any

import zmq
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.serverapp import ServerApp
from tornado import web
from traitlets.config import Config

from tools.book import DURATION
from tools.chapters import ROOT, BookError, all_chapters
from tools.render import HTML

LIVE = Path(__file__).resolve().parent / "live"
# The only addresses that thebe would ask elsewhere -> ours. Nothing is below the second: the widgets of the chapters
# are part of thebe.
ADDRESSES = {
    b"https://cdnjs.cloudflare.com/ajax/libs/require.js/2.3.6/require.min.js": b"/live/require.js",
    b"https://cdn.jsdelivr.net/npm/": b"/live/widgets/",
}
BUNDLE = "thebe/index.js"
HEAD = '<link rel="stylesheet" href="/live/live.css"><script defer src="/live/live.js" data-token="{token}"></script>'
IDLE = 3600  # seconds after which a kernel that does nothing is ended, also that of a page that was left open


def live_files() -> dict[str, bytes]:
    """Read all files below `/live/`: our scripts, and thebe's with our addresses."""
    files = {path.relative_to(LIVE).as_posix(): path.read_bytes() for path in LIVE.rglob("*") if path.is_file()}
    for address, own in ADDRESSES.items():
        files[BUNDLE] = files[BUNDLE].replace(address, own)
    return files


class PageHandler(JupyterHandler):
    """A page of the book, with the scripts that make it live."""

    @web.authenticated
    def get(self, name: str) -> None:
        page = (HTML / name).resolve()
        if not page.is_relative_to(HTML.resolve()) or not page.is_file():
            raise web.HTTPError(404)
        self.set_header("Cache-Control", "no-store")  # it holds the token
        head = HEAD.format(token=self.identity_provider.token)
        self.finish(page.read_text(encoding="utf8").replace("</head>", f"{head}</head>", 1))


class FileHandler(JupyterHandler, web.StaticFileHandler):
    """The other files of the book, as they are."""

    @web.authenticated
    async def get(self, path: str, include_body: bool = True) -> None:  # type: ignore[override]
        await web.StaticFileHandler.get(self, path, include_body)


class LiveHandler(JupyterHandler):
    """The scripts that make a page live."""

    def initialize(self, files: dict[str, bytes]) -> None:
        self.files = files

    @web.authenticated
    def get(self, name: str) -> None:
        if name not in self.files:
            raise web.HTTPError(404)
        self.set_header("Content-Type", f"{guess_type(name)[0] or 'text/plain'}; charset=utf-8")
        self.finish(self.files[name])


class BookServer(ServerApp):
    """A Jupyter server that is only for the book: the user's own settings could open it to others."""

    def load_config_file(self, *_: Any, **__: Any) -> None:
        pass


def settings(port: int) -> Config:
    """Make the server's settings: this machine only, a new token, kernels that end when nobody uses them."""
    config = Config()
    config.ServerApp.update(
        ip="127.0.0.1",
        port=port,
        port_retries=50,
        root_dir=str(ROOT),  # a page's kernel starts in book/, below it
        default_url=f"/read/{all_chapters()[0]}.html",
        cookie_secret=secrets.token_bytes(32),  # an earlier server's cookie is not a token
        open_browser=False,
        allow_root=True,  # in containers; the token is asked for all the same
        answer_yes=True,  # Ctrl-C ends it at once
        log_level="ERROR",
        extra_static_paths=[],
    )
    config.IdentityProvider.token = secrets.token_hex(16)
    config.KernelManager.transport_encryption = "auto" if zmq.has("curve") else "disabled"  # others share the machine
    config.MappingKernelManager.update(
        cull_idle_timeout=IDLE, cull_interval=min(60, IDLE), cull_connected=True, cull_busy=False
    )
    return config


def book_server(port: int) -> BookServer:
    """Make the server, listening but not yet started."""
    if not (HTML / f"{all_chapters()[0]}.html").exists():
        raise BookError(f"there is no rendered book in {HTML}: run make book first (SCALE=smoke is the quick look)")
    server = BookServer.instance(config=settings(port))
    server.initialize(argv=[], find_extensions=False)
    handlers = [
        (r"/read/(.*\.html)", PageHandler),
        (r"/read/(.*)", FileHandler, {"path": str(HTML)}),
        (r"/live/(.*)", LiveHandler, {"files": live_files()}),
    ]
    server.web_app.add_handlers(r".*", handlers)
    return server


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.serve", description=__doc__)
    parser.add_argument("--port", type=int, default=8888, help="a taken one moves on to the next (%(default)s)")
    parser.add_argument("--scale", choices=DURATION, help="of what runs; otherwise $MODULES_SCALE or laptop")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.scale:
        os.environ["MODULES_SCALE"] = args.scale  # the kernels inherit it
    try:
        server = book_server(args.port)
    except BookError as error:
        sys.exit(f"error: {error}")
    address = f"http://127.0.0.1:{server.port}/?token={server.identity_provider.token}"
    message = f"The book, with code that runs:\n  {address}\nCtrl-C ends it."
    server.io_loop.add_callback(print, message, flush=True)  # the server listens from the first turn of the loop on
    server.start()


if __name__ == "__main__":
    main()
