"""`langchain-kimi ask`: a live agent with Moonshot's own tools."""

import argparse
import warnings

from langchain_kimi._redaction import escape_controls
from langchain_kimi.agent.create_agent import create_kimi_agent
from langchain_kimi.agent.usage_limits.limits import AgentLimits
from langchain_kimi.chat_model import ChatKimi
from langchain_kimi.cli.agent_display import AgentDisplay, ToolClock, run_and_show
from langchain_kimi.cli.parser import FORMULAS
from langchain_kimi.errors import KimiWarning
from langchain_kimi.tools import formula_tools
from langchain_kimi.usage_meter import UsageMeter

_SYSTEM_PROMPT = (
    "Answer in a few sentences and name your sources. Ask for the date before you search for anything recent; read a "
    "page where its summary does not answer the question."
)


def run_ask_command(options: argparse.Namespace) -> int:
    """Ask and print what the agent does; the exit status."""
    chat = ChatKimi(model=options.model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", KimiWarning)
        tools = formula_tools(*(options.formula or FORMULAS), model=chat)
    clock, meter = ToolClock(), UsageMeter()
    display = AgentDisplay(options.model, clock)
    for warning in caught:
        display.line(f"[warning] {escape_controls(str(warning.message))}", "yellow")
    display.line(f"[live: {options.model}]", "yellow")
    agent = create_kimi_agent(chat, tools, system_prompt=_SYSTEM_PROMPT, limits=AgentLimits(turns=20))
    run_and_show(agent, options.question, display, [clock, meter])
    if fees := meter.total.fees_usd:
        display.line(f"[fees] ${fees:.3f} for tools that Kimi runs, beside tokens", "green")
    return 0
