"""Reports of recorded runs: one HTML file that needs neither a network nor a server."""

from langchain_kimi._run_report.pages import difference_page, report_page
from langchain_kimi._run_report.run_content import remove_content, scrub_run

__all__ = ["difference_page", "remove_content", "report_page", "scrub_run"]
