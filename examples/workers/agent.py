"""The agent that the workers run: put your own in its place. Live with a key, else on a scripted server."""

import os
from typing import Annotated, Any

import psycopg
from langchain_core.tools import tool

from langchain_kimi import ChatKimi, InjectedIdempotencyKey, KimiAgent, RateLimits, create_kimi_agent
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought

DATABASE = os.environ.get("DATABASE_URL", "postgresql://127.0.0.1:5432/test")
LIMITS = RateLimits(  # of the account, for all workers together
    concurrency=int(os.environ.get("KIMI_CONCURRENCY", "50")),
    rpm=int(os.environ.get("KIMI_RPM", "500")),
    shared=os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"),
    account=os.environ.get("KIMI_ACCOUNT", "default"),
)
TABLE = "CREATE TABLE IF NOT EXISTS refunds (key uuid PRIMARY KEY, order_id text, cents int)"
REFUND = "INSERT INTO refunds VALUES (%s, %s, %s) ON CONFLICT (key) DO NOTHING"


@tool
def find_order(order: str) -> str:
    """Look an order up."""
    return f"Order {order}: a blue jacket, 89.00 €, delivered."


@tool
def refund(order: str, cents: int, key: Annotated[str, InjectedIdempotencyKey]) -> str:
    """Refund an order. A person approves each refund, and no crash makes it twice."""
    with psycopg.connect(DATABASE) as connection:  # stands for a payment service that takes idempotency keys
        connection.execute(REFUND, (key, order, cents))
    return f"{cents / 100:.2f} € for order {order} are on their way."


def script(request: Request) -> Reply:
    """Plays the model where there is no key."""
    results = request.tool_results()
    if not results:
        return thought("I need to see the order first.").calling("find_order", order="A-17")
    if "delivered" in str(results[-1]["content"]):
        return thought("It was delivered, so I refund it.").calling("refund", order="A-17", cents=8900)
    return said(f"About your jacket: {results[-1]['content']}", thinking="Now I can answer.")


def scripted_server() -> KimiServer:
    """A server of this process that plays Kimi's API."""
    print("There is no MOONSHOT_API_KEY, so a script plays the model.", flush=True)
    return KimiServer(script).start()


def create_agent(checkpointer: Any) -> KimiAgent:
    """The agent of one worker."""
    access = {} if os.environ.get("MOONSHOT_API_KEY") else {"base_url": scripted_server().url, "api_key": "sk-none"}
    model = ChatKimi(model="kimi-k3", rate_limits=LIMITS, **access)
    return create_kimi_agent(
        model, [find_order, refund], interrupt_on={"refund": True}, once={"refund"}, checkpointer=checkpointer
    )
