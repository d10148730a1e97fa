"""A payment that happens exactly once, although the process is killed right after it: the call's key is unique.

Needs PostgreSQL: python examples/once_in_postgres.py postgresql://127.0.0.1:5432/test
"""

import os
import signal
import sys
from typing import Annotated, Any

import psycopg
from langchain_core.tools import tool
from langgraph.checkpoint.postgres import PostgresSaver

from langchain_kimi import InjectedIdempotencyKey, create_kimi_agent
from langchain_kimi.testing import FakeKimi, Reply, Request, said, thought

DATABASE = sys.argv[1] if len(sys.argv) > 1 else "postgresql://127.0.0.1:5432/test"
THREAD = {"configurable": {"thread_id": f"invoice {os.getpid()}"}}
TABLE = "CREATE TABLE IF NOT EXISTS payments (key uuid PRIMARY KEY, payee text, cents int)"
PAY = "INSERT INTO payments VALUES (%s, %s, %s) ON CONFLICT (key) DO NOTHING"
FIRST = os.getpid()


@tool
def pay(payee: str, cents: int, key: Annotated[str, InjectedIdempotencyKey]) -> str:
    """Pay somebody."""
    with psycopg.connect(DATABASE) as connection:  # one transaction: the key and the effect, or neither
        is_new = connection.execute(PAY, (key, payee, cents)).rowcount == 1
    print(f"paying {payee}: {'paid' if is_new else 'paid before, not again'}", flush=True)
    if os.getpid() != FIRST:
        os.kill(os.getpid(), signal.SIGKILL)  # after the payment, before its result is recorded
    return f"{payee} has {cents / 100:.2f} €"


def script(request: Request) -> Reply:
    """Plays the model."""
    if request.tool_results():
        return said("The invoice is paid.")
    return thought("I pay it.").calling("pay", payee="Mara", cents=4200)


def run(state: dict[str, Any] | None) -> str:
    """Ask on the thread, or resume it."""
    with PostgresSaver.from_conn_string(DATABASE) as saver:
        saver.setup()
        agent = create_kimi_agent(FakeKimi(script), [pay], checkpointer=saver)
        return str(agent.invoke(state, THREAD, durability="sync")["messages"][-1].text)


if __name__ == "__main__":
    with psycopg.connect(DATABASE) as connection:
        connection.execute(TABLE)
    if (child := os.fork()) == 0:
        run({"messages": [("user", "Pay Mara's invoice of 42 €.")]})
    os.waitpid(child, 0)
    print(run(None))
    with psycopg.connect(DATABASE) as connection:
        rows = connection.execute("SELECT payee, cents FROM payments").fetchall()
    print(f"{len(rows)} payment: {rows}")
