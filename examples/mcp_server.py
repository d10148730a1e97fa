"""An MCP server of a restaurant, for mcp_tools.py, which starts it and talks to it over stdin and stdout."""

from pathlib import Path

from mcp.server.fastmcp import Context, FastMCP, Image
from pydantic import BaseModel

server = FastMCP("restaurant", log_level="ERROR")


class Menu(BaseModel):
    """The menu of one day."""

    soup: str
    euros: float


class Table(BaseModel):
    """What the restaurant asks the guest."""

    outside: bool


@server.tool()
def menu(day: str) -> Menu:
    """The menu of a day."""
    return Menu(soup=f"{day}'s soup", euros=7.5)


@server.tool()
def guests_by_day() -> Image:
    """A chart of the guests by day."""
    return Image(path=Path(__file__).with_name("chart.png"))


@server.tool()
async def book(people: int, context: Context) -> str:
    """Book a table."""
    answer = await context.elicit("Would you like to sit outside?", Table)
    if answer.action != "accept":
        return "Nothing was booked."
    return f"Booked for {people}, {'outside' if answer.data.outside else 'inside'}."


if __name__ == "__main__":
    server.run("stdio")
