"""A recording in the format of go-vcr."""

import json
from typing import Any

STREAM = (
    'data: {"choices":[{"index":0,"delta":{"content":"Yes"}}]}\n\n'
    'data: {"choices":[{"index":0,"delta":{"content":", sk-01"}}]}\n\n'
    'data: {"choices":[{"index":0,"delta":{"content":"2345678"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
ASKED = {"model": "kimi-k2.6", "messages": [{"role": "user", "content": "Hello?"}]}
HEADERS = {"Content-Type": ["application/json"], "Authorization": ["Bearer sk-0123456789"]}
EVENTS = {"Content-Type": ["text/event-stream"], "Set-Cookie": ["a=b12345678"]}
URL = "https://api.example.com/v1/chat/completions"


def go_vcr(version: int) -> dict[str, Any]:
    request = {"body": json.dumps(ASKED), "headers": HEADERS, "url": URL, "method": "POST"}
    response = {"body": STREAM, "headers": EVENTS, "status": "200 OK", "code": 200}
    return {"version": version, "interactions": [{"id": 0, "request": request, "response": response}]}
