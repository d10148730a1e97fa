"""`langchain-kimi demo`: the research task of a real agent, on a scripted model without a key, or live."""

import argparse
import html
import json
import random
import re
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
from langchain_core.tools import BaseTool, tool
from pydantic import SecretStr

from langchain_kimi.agent.create_agent import create_kimi_agent
from langchain_kimi.agent.usage_limits.limits import AgentLimits
from langchain_kimi.catalogue import DEFAULT_MODEL
from langchain_kimi.chat_model import ChatKimi
from langchain_kimi.cli.agent_display import AgentDisplay, ToolClock, run_and_show
from langchain_kimi.cli.demo_site import DemoSite
from langchain_kimi.testing.script.reply import Reply, Request, said, thought
from langchain_kimi.testing.server import KimiServer

QUESTION = "How do honeybees get through the winter, and what does the warmth cost them?"
_SYSTEM_PROMPT = (
    "You are a careful researcher. Search, read at least three pages, follow one lead from them, then answer in a few "
    "sentences and name the pages you used."
)
SCRIPTED = "SCRIPTED: no model runs here; a local KimiServer plays Kimi, the tools are real"


def research_tools(site: DemoSite) -> list[BaseTool]:
    """A search over the site and a crawl of one page, both over HTTP."""
    no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the site needs none, and loading them takes 90 ms

    async def get(url: str, **query: str) -> str:
        async with httpx2.AsyncClient(verify=no_certificates, trust_env=False) as client:
            return (await client.get(url, params=query)).raise_for_status().text

    @tool
    async def search(query: str) -> str:
        """Search the web. Returns JSON: a list of title and url."""
        return await get(f"{site.url}/search", q=query)

    @tool
    async def crawl(url: str) -> str:
        """Read one web page. Returns its text, links as [title](url)."""
        page = await get(url)
        linked = re.sub(r'<a href="([^"]*)">([^<]*)</a>', r"[\2](\1)", page)
        return html.unescape(re.sub(r"<[^>]+>", "\n", linked)).strip()

    return [search, crawl]


def scripted_researcher(request: Request) -> Reply:
    """Plays the model: what it does next is made from the tool results that it was sent."""
    results = [result["content"] for result in request.tool_results()]
    rounds = sum(message["role"] == "assistant" for message in request.messages)
    if rounds == 0:
        plan = (
            "The question has two parts: how the colony survives, and the price of its heat. I search for both first."
        )
        return thought(plan).calling("search", query="honeybees winter cluster honey warm")
    if rounds == 1:
        pages = json.loads(results[0])[:3]
        titles = ", ".join(page["title"] for page in pages)
        reply = thought(f"Three pages look right: {titles}. They do not depend on each other, so I read them together.")
        for page in pages:
            reply = reply.calling("crawl", url=page["url"])
        return reply
    if rounds == 2:
        leads = list(dict.fromkeys(re.findall(r"\[([^]]*)\]\(([^)]*)\)", "\n".join(results))))
        title, url = leads[0]
        return thought(f"The pages point to {title!r}, which should have the numbers. One more round.").calling(
            "crawl", url=url
        )
    read = [message["content"] for message in request.messages if message["role"] == "tool"][1:]
    facts = [(page.splitlines()[0], " ".join(page.split("\n", 1)[1].split()).split(". ")[0]) for page in read]
    lines = "\n".join(f"- {fact.rstrip('.')}. ({title})" for title, fact in facts)
    return said(
        f"What the pages say:\n{lines}", thinking="I have what I need: one fact from each page, with its source."
    )


def paced(script: Callable[[Request], Reply], seconds: float) -> Callable[[Request], Reply]:
    """The script at reading speed: a pause before each word, so that the stream is seen to arrive."""

    def slowly(pieces: str) -> Iterator[str]:
        for piece in re.findall(r"\s*\S+", pieces):
            time.sleep(seconds)
            yield piece

    def reply(request: Request) -> Reply:
        whole = script(request)
        return whole.thinking(slowly(str(whole.reasoning or ""))).saying(slowly(str(whole.text)))

    return reply if seconds else script


@contextmanager
def scripted_model(pace: float) -> Iterator[ChatKimi]:
    """A ChatKimi on a KimiServer of its own that plays the researcher."""
    with KimiServer(paced(scripted_researcher, pace)) as server:
        yield ChatKimi(model=DEFAULT_MODEL, base_url=server.url, api_key=SecretStr("sk-demo-needs-no-key"))


def run_demo_command(options: argparse.Namespace) -> int:
    """Run the demo; the exit status."""
    return run_demo(live=options.live, pace=0.0 if options.fast or not sys.stdout.isatty() else 0.02)


def run_demo(*, live: bool = False, pace: float = 0.02, on_page: Callable[[], object] | None = None) -> int:
    """Run the agent on the site; `pace` is the scripted model's pause in seconds before each word.

    `on_page` is called for each page request before it is answered; left out, it waits as the web would.
    """
    with DemoSite(on_page or (lambda: time.sleep(random.uniform(0.2, 0.5)))) as site:
        if live:
            research(ChatKimi(model=DEFAULT_MODEL), site, f"live: {DEFAULT_MODEL}")
        else:
            with scripted_model(pace) as model:
                research(model, site, SCRIPTED)
    return 0


def research(model: ChatKimi, site: DemoSite, label: str) -> None:
    """Run the agent on the question and print what it does."""
    clock = ToolClock()
    display = AgentDisplay(model.model, clock)
    display.line(f"[{label}]", "yellow")
    display.line(f"[question] {QUESTION}", "bold")
    agent = create_kimi_agent(model, research_tools(site), system_prompt=_SYSTEM_PROMPT, limits=AgentLimits(turns=20))
    run_and_show(agent, QUESTION, display, [clock])
