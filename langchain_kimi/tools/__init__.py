"""Tools that Kimi's side runs: the hosted Formula tools, and the builtin `$web_search`."""

from langchain_kimi.tools.builtin_search import WebSearch, web_search
from langchain_kimi.tools.formulas import FormulaTool, aformula_tools, formula_tools

__all__ = ["FormulaTool", "WebSearch", "aformula_tools", "formula_tools", "web_search"]
