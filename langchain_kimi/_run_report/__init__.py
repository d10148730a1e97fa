"""Reports of recorded runs: one HTML file that needs neither a network nor a server."""

from langchain_kimi._run_report.pages import report_page
from langchain_kimi._run_report.run_content import remove_content, scrub_run

__all__ = ["remove_content", "report_page", "scrub_run"]
