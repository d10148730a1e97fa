"""Token estimates against counts of the tokeniser that Moonshot publishes with its verifier, made once, by hand.

The requests and texts are our own. The template is the published one of K3, with which the same tokeniser gives every
count that the verifier expects of hosts (August 2026). Two of these are below: 36 tokens for a user message of 18 with
thinking off, and 83 more for a response schema of 23 (`tests/k3_features/test_response_format.py`).
"""

import base64
import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_kimi import ChatKimi, tokens
from langchain_kimi._picture_sizes import picture_size
from langchain_kimi._token_estimates import K2, K3, count_picture, count_schema, count_text
from langchain_kimi.testing.api.prompt_tokens import prompt_tokens

Json = dict[str, Any]


def function(name: str, description: str, lake: str, **more: Json) -> Json:
    properties = {"lake": {"type": "string", "description": lake}, **more}
    parameters = {"type": "object", "properties": properties, "required": ["lake"]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def call(name: str, call_id: str, arguments: str) -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def user(text: str) -> Json:
    return {"role": "user", "content": text}


UNIT = {"type": "string", "enum": ["m", "ft"]}
DEPTH = function("lake_depth", "The greatest depth of a lake, in metres.", "Name of the lake", unit=UNIT)
AREA = function("lake_area", "湖泊的面积，单位为平方公里", "湖泊名称")
ASKED = [
    {"role": "system", "content": "You know the lakes of the world. Answer in one sentence."},
    user("How deep is Lake Baikal, and how large?"),
]
CALLED = [
    *ASKED,
    {
        "role": "assistant",
        "content": "",
        "reasoning_content": "Both are facts to look up.",
        "tool_calls": [
            call("lake_depth", "lake_depth:0", '{"lake":"Baikal","unit":"m"}'),
            call("lake_area", "lake_area:1", '{"lake":"贝加尔湖"}'),
        ],
    },
    {"role": "tool", "tool_call_id": "lake_depth:0", "content": "1642 m"},
    {"role": "tool", "tool_call_id": "lake_area:1", "content": '{"lake":"贝加尔湖","area_km2":31722}'},
]
SCHEMA = {
    "type": "object",
    "properties": {"depth": {"type": "number", "description": "In metres"}, "lake": {"type": "string"}},
    "required": ["lake", "depth"],
    "additionalProperties": False,
}
ENGLISH = (
    "Lake Baikal is a rift lake in the south of Siberia. It is the deepest lake on Earth and holds about a fifth of "
    "its unfrozen fresh water. Please write a short note for visitors who arrive in winter, with three rules for "
    "walking on the ice."
)
CHINESE = (
    "贝加尔湖位于西伯利亚南部，是世界上最深的湖泊，蓄水量约占地球液态淡水的五分之一。"
    "请给冬季来访的游客写一段简短的提示，并列出在冰面上行走的三条规则。"
)
OFF = {"thinking": {"type": "disabled"}}
REQUESTS: dict[str, tuple[int, Json]] = {
    "a greeting": (88, {"messages": [user("Good morning.")]}),
    "english": (140, {"messages": [user(ENGLISH)]}),
    "chinese": (143, {"messages": [{"role": "system", "content": "你是一位耐心的地理老师。"}, user(CHINESE)]}),
    "a conversation": (
        176,
        {
            "messages": [
                *ASKED,
                {"role": "assistant", "content": "It is 1642 metres deep.", "reasoning_content": "A known fact."},
                user("谢谢。那坦噶尼喀湖呢？"),
            ]
        },
    ),
    "tools": (264, {"messages": ASKED, "tools": [DEPTH, AREA]}),
    "calls and results": (436, {"messages": CALLED, "tools": [DEPTH, AREA]}),
    "low effort": (437, {"messages": CALLED, "tools": [DEPTH, AREA], "reasoning_effort": "low"}),
    "dynamic tools": (
        322,
        {"messages": [*ASKED, {"role": "system", "content": "", "tools": [DEPTH]}], "tools": [AREA]},
    ),
    "required": (256, {"messages": ASKED, "tools": [DEPTH], "tool_choice": "required"}),
    "none": (258, {"messages": ASKED, "tools": [DEPTH], "tool_choice": "none"}),
    "json_object": (
        139,
        {"messages": [user("Name the deepest lake as JSON.")], "response_format": {"type": "json_object"}},
    ),
    "json_schema": (
        186,
        {
            "messages": [user("Name the deepest lake.")],
            "response_format": {"type": "json_schema", "json_schema": {"name": "lake", "schema": SCHEMA}},
        },
    ),
    "thinking off": (53, {"messages": ASKED, **OFF}),
    "thinking off with tools": (356, {"messages": CALLED, "tools": [DEPTH, AREA], **OFF}),
}
"""The tokens of each request to kimi-k3."""


def as_message(wire: Json) -> BaseMessage:
    if wire["role"] == "assistant":
        calls = [
            {"id": one["id"], "name": one["function"]["name"], "args": json.loads(one["function"]["arguments"])}
            for one in wire.get("tool_calls", ())
        ]
        reasoning = {"reasoning_content": wire["reasoning_content"]}
        return AIMessage(wire["content"], tool_calls=calls, additional_kwargs=reasoning)  # type: ignore[arg-type]
    if wire["role"] == "tool":
        return ToolMessage(wire["content"], tool_call_id=wire["tool_call_id"])
    if wire["role"] == "user":
        return HumanMessage(wire["content"])
    return SystemMessage(wire["content"], additional_kwargs={"tools": wire["tools"]} if "tools" in wire else {})


@pytest.mark.parametrize(("exact", "body"), REQUESTS.values(), ids=REQUESTS)
def test_requests_are_counted_within_a_tenth(exact: int, body: Json) -> None:
    assert abs(prompt_tokens({"model": "kimi-k3", **body}) / exact - 1) < 0.1
    fields = K3.required + 2 if body.get("tool_choice") == "none" else K3.required if "tool_choice" in body else 0
    if wanted := body.get("response_format"):
        schema = count_schema(json.dumps(SCHEMA, separators=(",", ":")))
        fields += K3.json_object if wanted["type"] == "json_object" else K3.json_schema + schema
    thinking = {"thinking": False} if "thinking" in body else {}
    model = ChatKimi(model="kimi-k3", base_url="http://127.0.0.1:1/v1", **thinking)
    counted = model.get_num_tokens_from_messages(
        [as_message(message) for message in body["messages"]], body.get("tools")
    )
    assert abs((counted + fields) / exact - 1) < 0.1


def test_the_frames_are_those_of_the_verifiers_numbers() -> None:
    user_message = K3.request + K3.message
    assert user_message + 18 == 36
    assert user_message + 18 + K3.json_schema + 23 == 119
    assert user_message + K3.effort == 85  # beside the one word of a message, of which it expects 86


TEXTS: dict[str, tuple[int, int, str]] = {
    "english": (
        67,
        77,
        "The committee met on Tuesday to discuss the budget for the coming year. Several members argued"
        " that the library should stay open longer in the evenings, because students from the nearby"
        " college have nowhere else to work. Others pointed out that the heating costs had risen"
        " sharply, and that the roof above the reading room still needs to be repaired before winter.",
    ),
    "python": (
        99,
        101,
        'def moving_average(values: list[float], width: int) -> list[float]:\n    """The means of all windows'
        ' of the given width."""\n    if width < 1:\n        raise ValueError(f"width must be positive, not'
        ' {width}")\n    total = sum(values[:width])\n    means = [total / width]\n    for index in range(width'
        ", len(values)):\n        total += values[index] - values[index - width]\n        means.append(total"
        " / width)\n    return means\n",
    ),
    "json": (
        92,
        76,
        '[{"id":1,"name":"Baikal","depth_m":1642,"countries":["Russia"],"salt":false},{"id":2,"name":"Tanganyik'
        'a","depth_m":1470,"countries":["Tanzania","Congo","Burundi","Zambia"],"salt":false},{"id":3,"name":"Ca'
        'spian Sea","depth_m":1025,"countries":["Kazakhstan","Russia","Iran"],"salt":true}]',
    ),
    "log": (
        239,
        245,
        "2026-11-03T03:13:43 INFO http.client: GET /v1/lakes/111 finished in 39 ms\n2026-11-04T04:14:44"
        " INFO http.client: GET /v1/lakes/148 finished in 52 ms\n2026-11-05T05:15:45 INFO http.client:"
        " GET /v1/lakes/185 finished in 65 ms\n2026-11-06T06:10:46 INFO http.client: GET /v1/lakes/222"
        " finished in 78 ms\n2026-11-07T07:11:40 INFO http.client: GET /v1/lakes/259 finished in 91 ms"
        "\n2026-11-08T08:12:41 INFO http.client: GET /v1/lakes/296 finished in 104 ms"
        "\n2026-11-09T00:13:42 INFO http.client: GET /v1/lakes/333 finished in 117 ms"
        "\n2026-11-10T01:14:43 INFO http.client: GET /v1/lakes/370 finished in 130 ms",
    ),
    "table": (
        68,
        63,
        "lake        depth (m)   area (km2)\nBaikal           1642        31722\nTanganyika       1470"
        "        32900\nVostok           1067        12500\nMalawi            706        29600"
        "\nSuperior          406        82103",
    ),
    "chinese": (
        45,
        52,
        "委员会在星期二开会讨论明年的预算。几位成员认为图书馆晚上应该延长开放时间，因为附近学院的学生没有别"
        "的地方可以学习。另一些人则指出，取暖费用大幅上涨，而且阅览室上方的屋顶在冬天到来之前还需要修理。",
    ),
    "japanese": (
        66,
        55,
        "委員会は火曜日に集まり、来年度の予算について話し合いました。近くの大学の学生には他に勉強する場所が"
        "ないため、図書館の夜間の開館時間を延ばすべきだという意見が出ました。",
    ),
    "korean": (
        72,
        73,
        "위원회는 화요일에 모여 내년 예산을 논의했습니다. 근처 대학의 학생들이 공부할 다른 장소가 없기 때문"
        "에 도서관이 저녁에 더 오래 문을 열어야 한다는 의견이 나왔습니다.",
    ),
    "russian": (
        75,
        82,
        "Комитет собрался во вторник, чтобы обсудить бюджет на следующий год. Несколько участников"
        " считали, что библиотека должна работать дольше по вечерам, потому что студентам соседнего"
        " колледжа больше негде заниматься.",
    ),
    "german": (
        78,
        61,
        "Der Ausschuss traf sich am Dienstag, um den Haushalt für das kommende Jahr zu besprechen."
        " Mehrere Mitglieder fanden, dass die Bibliothek abends länger geöffnet bleiben sollte, weil"
        " die Studenten der nahen Hochschule sonst nirgends arbeiten können.",
    ),
    "spanish": (
        63,
        64,
        "El comité se reunió el martes para discutir el presupuesto del próximo año. Varios miembros"
        " opinaron que la biblioteca debería permanecer abierta más tiempo por las noches, porque los"
        " estudiantes no tienen otro lugar donde trabajar.",
    ),
}
"""The tokens of each text and the estimate of them."""


@pytest.mark.parametrize(("exact", "estimate", "text"), TEXTS.values(), ids=TEXTS)
def test_texts_are_estimated_as_well_as_the_table_says(exact: int, estimate: int, text: str) -> None:
    assert count_text(text) == estimate
    assert abs(estimate / exact - 1) < 0.22


def test_long_texts_are_estimated_from_samples() -> None:
    for _, _, text in TEXTS.values():
        long = (text + "\n") * (50_000 // len(text))
        once = count_text(text + "\n") * (50_000 // len(text))
        assert abs(count_text(long) / once - 1) < 0.1


def test_half_of_an_estimate_is_a_lower_bound() -> None:
    for exact, estimate, _ in TEXTS.values():
        assert exact / 4 < tokens.at_least(estimate) <= exact


HEADS = {
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (1536).to_bytes(4, "big") + (1024).to_bytes(4, "big"), (1536, 1024)),
    "jpeg": (
        b"\xff\xd8\xff\xe1\x13\x8a" + bytes(5_000) + b"\xff\xc2\0\x11\x08\x02\x58\x03\x20",
        (800, 600),
    ),
    "gif": (b"GIF89a\x40\x01\xf0\0", (320, 240)),
    "bmp": (b"BM" + bytes(16) + (640).to_bytes(4, "little") + (-480).to_bytes(4, "little", signed=True), (640, 480)),
    "webp": (b"RIFF\0\0\0\0WEBPVP8 " + bytes(10) + b"\x20\x03\x58\x02", (800, 600)),
    "webp lossless": (b"RIFF\0\0\0\0WEBPVP8L" + bytes(5) + (799 | 599 << 14).to_bytes(4, "little"), (800, 600)),
    "webp extended": (b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + b"\x1f\x03\0\x57\x02\0", (800, 600)),
}


@pytest.mark.parametrize(("head", "size"), HEADS.values(), ids=HEADS)
def test_the_size_of_a_picture_is_read_from_its_beginning(head: bytes, size: tuple[int, int]) -> None:
    encoded = base64.b64encode(head + bytes(40)).decode()
    assert picture_size(encoded) == picture_size(f"data:image/any;base64,{encoded}") == size
    blocks: list[Any] = [
        {"type": "image", "base64": encoded, "mime_type": "image/any"},
        {"type": "image_url", "image_url": {"url": f"data:image/any;base64,{encoded}"}},
        {"type": "image", "source": {"type": "base64", "data": encoded}},
    ]
    for block in blocks:
        assert tokens.count_message(HumanMessage([block])) == K3.message + count_picture(*size)
    wire = {"role": "user", "content": [{"type": "image_url", "image_url": blocks[1]["image_url"]}]}
    assert prompt_tokens({"model": "kimi-k3", "messages": [wire]}) == 85 + count_picture(*size)
    for end in range(len(head)):
        assert picture_size(base64.b64encode(head[:end]).decode()) in (None, size)


@pytest.mark.parametrize(
    ("size", "k3", "k2"),
    [
        ((224, 224), 64, 64),  # 69 with K2's frame, as counted in sgl-project/sglang pull request 40356
        ((28, 28), 1, 1),
        ((29, 28), 2, 2),
        ((1536, 1024), 55 * 37, 55 * 37),
        ((3840, 2160), 138 * 78, 86 * 49),
        ((20_000, 100), 256 * 2, 256 * 2),
        ((1, 1), 1, 1),
    ],
)
def test_a_square_of_28_pixels_is_a_token(size: tuple[int, int], k3: int, k2: int) -> None:
    assert (count_picture(*size) - K3.picture, count_picture(*size, K2) - K2.picture) == (k3, k2)


def test_data_that_is_no_picture_has_no_size() -> None:
    for data in ("", "%%%", "data:image/png;base64,", base64.b64encode(bytes(64)).decode(), "ms://file-1"):
        assert picture_size(data) is None
