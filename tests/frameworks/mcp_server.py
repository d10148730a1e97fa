"""An MCP server over stdin and stdout, with mcp 1 or mcp 2: `python tests/frameworks/mcp_server.py NAME FOLDER`.

It adds a line with its process id to a file in FOLDER for each tool that starts.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

try:
    from mcp.server.mcpserver import Elicit, ElicitationResult, Image, MCPServer, Resolve

    IS_MCP_2 = True
except ImportError:
    from mcp.server.fastmcp import Context, Image
    from mcp.server.fastmcp import FastMCP as MCPServer

    IS_MCP_2 = False

NAME, FOLDER = sys.argv[1], Path(sys.argv[2])
PICTURE = Path(__file__).parents[2] / "examples" / "chart.png"
server = MCPServer(NAME, log_level="CRITICAL")


def note(tool: str) -> None:
    with (FOLDER / tool).open("a") as file:
        file.write(f"{os.getpid()}\n")


class Weather(BaseModel):
    """A structured result."""

    server: str
    city: str
    celsius: float


@server.tool()
def weather(city: str) -> Weather:
    """The weather in a city."""
    return Weather(server=NAME, city=city, celsius=3.5)


@server.tool()
def picture() -> Image:
    """A picture."""
    return Image(data=PICTURE.read_bytes(), format="png")


@server.tool()
def fail(x: int) -> str:
    """Fail."""
    raise ValueError("no such x")


@server.tool()
def die() -> str:
    """End the server."""
    os._exit(3)


@server.tool()
async def hang() -> str:
    """Never return."""
    note("hang")
    await asyncio.sleep(600)
    return "late"


@server.tool()
def measure(
    point: tuple[int, int],
    unit: Literal["mm", 3],
    scale: Annotated[float, Field(json_schema_extra={"anyOf": [{"type": "number"}, {"type": "integer"}]})] = 1,
    limit: int | None = None,
) -> str:
    """A tool whose schema Kimi refuses as it is."""
    return f"{point} {unit} {scale} {limit}"


class Answer(BaseModel):
    """What a person answers."""

    sure: bool


def outcome(what: str, answer: Any) -> str:
    return f"{what}: {answer.action} {answer.data.sure if answer.action == 'accept' else ''}".strip()


if IS_MCP_2:

    def question(what: str) -> Elicit[Answer]:
        return Elicit(f"{what}?", Answer)

    @server.tool()
    def ask(what: str, answer: Annotated[ElicitationResult[Answer], Resolve(question)]) -> str:
        """Ask the user."""
        note("ask")
        return outcome(what, answer)

else:

    @server.tool()
    async def ask(what: str, context: Context) -> str:
        """Ask the user."""
        note("ask")
        return outcome(what, await context.elicit(f"{what}?", Answer))


server.run("stdio")
