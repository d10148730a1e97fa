"""Tools that Kimi's side runs: the hosted Formula tools, and the builtin `$web_search`."""

from langchain_kimi.tools.formula import FormulaTool, aformula_tools, formula_tools
from langchain_kimi.tools.search import WebSearch, web_search

__all__ = ["FormulaTool", "WebSearch", "aformula_tools", "formula_tools", "web_search"]
