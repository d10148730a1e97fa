"""`langchain-kimi ask`: a live agent with Moonshot's own tools."""

import os
import warnings

from langchain_kimi.agent import Limits, create_kimi_agent
from langchain_kimi.chat_model import ChatKimi
from langchain_kimi.cli.demo import show
from langchain_kimi.cli.display import Display, ToolClock
from langchain_kimi.errors import KimiError, KimiWarning
from langchain_kimi.redaction import escape_controls
from langchain_kimi.tools import formula_tools
from langchain_kimi.usage import UsageMeter

FORMULAS = ("moonshot/date:latest", "moonshot/web-search:latest", "moonshot/fetch:latest")
PROMPT = (
    "Answer in a few sentences and name your sources. Ask for the date before you search for anything recent; read a "
    "page where its summary does not settle the question."
)
NO_KEY = "Set MOONSHOT_API_KEY to ask Kimi; `langchain-kimi demo` shows an agent at work without one."


def run(question: str, *, model: str, formulas: list[str] | None) -> int:
    """Ask and show; the exit status."""
    clock, meter = ToolClock(), UsageMeter()
    display = Display(model, clock)
    if not os.environ.get("MOONSHOT_API_KEY"):
        display.say(NO_KEY)
        return 2
    try:
        chat = ChatKimi(model=model)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", KimiWarning)
            tools = formula_tools(*(formulas or FORMULAS), model=chat)
    except KimiError as error:
        display.say(str(error), "red")
        return 1
    for warning in told:
        display.say(f"[warning] {escape_controls(str(warning.message))}", "yellow")
    display.say(f"[live: {model}]", "yellow")
    agent = create_kimi_agent(chat, tools, system_prompt=PROMPT, limits=Limits(turns=20))
    status = show(agent, question, display, [clock, meter])
    if fees := meter.total.fees_usd:
        display.say(f"[fees] ${fees:.3f} for tools that Kimi runs, beside tokens", "green")
    return status
