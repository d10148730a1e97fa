"""The web endpoint: starts, shows and cancels runs, and takes the answers of people. It runs no agent itself.

uvicorn web:app
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from agent import DATABASE
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, EnqueueOptions
from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

QUEUE = "agent runs"
client: DBOSClient


@asynccontextmanager
async def connected(app: FastAPI) -> AsyncIterator[None]:
    """Connect to PostgreSQL. Events wake the readers of a stream, which do not poll."""
    global client
    DBOS.migrate(DATABASE)
    client = DBOSClient(
        system_database_url=DATABASE,
        serializer=DBOSPortableJSONSerializer(),
        use_listen_notify=True,
        application_name="kimi-workers",
    )
    yield
    client.destroy()


app = FastAPI(lifespan=connected)


class Message(BaseModel):
    """What a user says."""

    message: str


class Answer(BaseModel):
    """The decisions of a person, one for each request of a question."""

    question: str
    decisions: list[dict[str, Any]]


async def status_of(run: str) -> Any:
    """The status of a run, as DBOS has it."""
    runs = await client.list_workflows_async(workflow_ids=[run])
    if not runs:
        raise HTTPException(404, f"There is no run {run}.")
    return runs[0]


async def enqueue(thread: str, request: BaseModel) -> dict[str, str]:
    """Queue a run. Runs of one thread wait for each other, since the thread is their partition of the queue."""
    options: EnqueueOptions = {"workflow_name": "run", "queue_name": QUEUE, "queue_partition_key": thread}
    run = await client.enqueue_async(options, thread, request.model_dump())
    return {"run": run.workflow_id}


@app.post("/threads/{thread}/messages", status_code=202)
async def send(thread: str, message: Message) -> dict[str, str]:
    """Start a run."""
    return await enqueue(thread, message)


@app.post("/threads/{thread}/answers", status_code=202)
async def answer(thread: str, answer: Answer) -> dict[str, str]:
    """Continue after a question, by a run of its own: nothing runs while people think."""
    return await enqueue(thread, answer)


@app.post("/runs/{run}/cancel", status_code=202)
async def cancel(run: str, status: Annotated[Any, Depends(status_of)]) -> None:
    """Cancel a run; its thread takes the next message."""
    await client.cancel_workflow_async(run)


@app.get("/runs/{run}/events", response_class=EventSourceResponse)
async def events(
    run: str, status: Annotated[Any, Depends(status_of)], last_event_id: Annotated[int, Header()] = -1
) -> AsyncIterator[ServerSentEvent]:
    """What happens in a run, from its beginning or where the browser lost the connection, until it ends."""
    offset = last_event_id + 1
    async for batch in client.read_stream_async(run, "events", offset=offset):
        yield ServerSentEvent(data=batch, id=str(offset))
        offset += 1
    end = await status_of(run)
    yield ServerSentEvent(event="end", data={"status": end.status, "result": end.output, "error": str(end.error or "")})


@app.get("/")
async def page() -> FileResponse:
    """A page that shows a thread."""
    return FileResponse(Path(__file__).with_name("page.html"))
