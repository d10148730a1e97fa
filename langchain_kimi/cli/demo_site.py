"""A small web site on loopback with a search over its pages: something real for the demo's tools to work on."""

import html
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

PAGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "winter-cluster": (
        "The winter cluster",
        "When the air falls below about 14 °C, honeybees gather in a ball around their queen. Bees inside the ball "
        "shiver their flight muscles without moving their wings and so make heat. The core stays near 33 °C while "
        "there is brood and near 20 °C without it. Bees on the outside form a mantle, heads inward, and change places "
        "with those inside.",
        ("heat-and-honey",),
    ),
    "winter-bees": (
        "Winter bees live longer",
        "Bees raised in autumn are not the bees of summer: their fat bodies are larger and hold more vitellogenin. A "
        "summer worker lives about six weeks, a winter worker up to six months. They raise no brood until the days "
        "grow longer, which spares their reserves.",
        ("varroa-in-autumn",),
    ),
    "honey-stores": (
        "Honey is the fuel",
        "A colony in a temperate climate needs roughly 15 to 25 kg of honey for a winter. The cluster moves slowly "
        "upward over the combs and eats as it goes. Colonies that starve in March often do so a few centimetres from "
        "full combs, because the cold keeps the cluster from moving.",
        ("heat-and-honey",),
    ),
    "hive-ventilation": (
        "Damp kills, cold does not",
        "Breathing bees give off water; on a cold hive lid it condenses and drips back on the cluster. A small upper "
        "opening or an insulated lid keeps the hive dry through winter. Bees close drafts themselves with propolis.",
        (),
    ),
    "heat-and-honey": (
        "What the heat costs",
        "Measured with thermal cameras, a cluster of 15,000 bees gives off 20 to 40 watts. One kilogram of honey holds "
        "about 3,500 watt-hours, so a cluster burns near 200 g of honey on a cold day. Insulated hives were seen to "
        "use about a third less.",
        (),
    ),
    "varroa-in-autumn": (
        "Mites in autumn",
        "Varroa mites that feed on autumn brood leave winter bees with smaller fat bodies and shorter lives. "
        "Beekeepers therefore treat in late summer, before the winter bees are raised.",
        (),
    ),
    "summer-cooling": (
        "Cooling in summer",
        "In summer the task is the opposite one: bees carry water, spread it on the combs and fan with their wings.",
        (),
    ),
}


class DemoSite:
    """Serves the pages and `/search?q=…` (JSON). `on_page` is called for each page request before it is answered."""

    def __init__(self, on_page: Callable[[], object] = lambda: None) -> None:
        self._on_page = on_page
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="demo-site", daemon=True)

    @property
    def url(self) -> str:
        """The site's address, without a slash at the end."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, target: str) -> tuple[int, str, str]:
        """Status, content type and body of the answer to a request."""
        address = urlsplit(target)
        if address.path == "/search":
            query = " ".join(parse_qs(address.query).get("q", ()))
            return 200, "application/json", json.dumps(self.search(query), ensure_ascii=False)
        self._on_page()
        page = PAGES.get(address.path.strip("/"))
        if page is None:
            return 404, "text/html", "<h1>No such page</h1>"
        title, text, links = page
        more = "".join(f'<p>See also: <a href="{self.url}/{link}">{PAGES[link][0]}</a></p>' for link in links)
        return 200, "text/html", f"<html><h1>{html.escape(title)}</h1><p>{html.escape(text)}</p>{more}</html>"

    def search(self, query: str) -> list[dict[str, str]]:
        """The pages that share words with the query, best first; a word in the title counts threefold."""
        wanted = _words(query)
        scores = {
            slug: 3 * len(wanted & _words(title)) + len(wanted & _words(text))
            for slug, (title, text, _) in PAGES.items()
        }
        slugs = sorted((slug for slug in scores if scores[slug]), key=lambda slug: -scores[slug])
        return [{"title": PAGES[slug][0], "url": f"{self.url}/{slug}"} for slug in slugs[:4]]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = site.answer(self.path)
                self.send_response(status)
                self.send_header("content-type", f"{kind}; charset=utf-8")
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:
                """The demo's output has no log."""

        return Handler


def _words(text: str) -> set[str]:
    """The words of a text, without plurals and the commonest short ones."""
    return {word.rstrip("s") for word in re.findall(r"[a-z]{4,}", text.lower())}
