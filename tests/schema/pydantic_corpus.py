"""What Python programmers pass: pydantic models, dataclasses, TypedDicts and LangChain tools of every form."""

import dataclasses
import datetime as dt
import enum
import ipaddress
import pathlib
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, Json, RootModel, computed_field, create_model
from typing_extensions import TypedDict

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Odd(enum.Enum):
    ONE = 1
    TWO = "two"
    NONE = None


class Plain(BaseModel):
    """Find a book."""

    title: str
    year: int = 2000
    score: float | None = None
    lent: bool = False


class Documented(BaseModel):
    query: str = Field(description="What to look for", examples=["kimi", "moon"])
    limit: int = Field(10, ge=1, le=100, description="How many")
    ratio: float = Field(0.5, gt=0, lt=1)
    code: str = Field(pattern=r"^[A-Z]{3}\d+$", min_length=4, max_length=12)
    step: int = Field(5, multiple_of=5)


class Address(BaseModel):
    """A postal address."""

    street: str
    zip: Annotated[str, Field(pattern=r"^\d{5}$")]


class Customer(BaseModel):
    name: str
    home: Address
    work: Address | None = Field(None, description="Where they work")
    others: list[Address] = []


class OneUse(BaseModel):
    where: Address = Field(description="Where to send it")


class Tree(BaseModel):
    value: int
    children: list["Tree"] = []


class Linked(BaseModel):
    value: str
    next: "Linked | None" = Field(None, description="The rest")


class Husband(BaseModel):
    name: str
    wife: "Wife | None" = None


class Wife(BaseModel):
    name: str
    husband: Husband | None = None


class HoldsTree(BaseModel):
    tree: Tree = Field(description="The tree to prune")
    other: Tree | None = None


class Enums(BaseModel):
    colour: Colour
    second: Colour = Field(Colour.RED, description="The other one")
    level: Level = Level.LOW
    odd: Odd | None = None


class Literals(BaseModel):
    mode: Literal["fast", "slow"]
    only: Literal["one"]
    number: Literal[1, 2, 3] = 1
    mixed: Literal["a", 1, True, None] = None
    maybe: Literal["x", "y"] | None = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(9, gt=0)


class Dog(BaseModel):
    kind: Literal["dog"]
    breed: str


class Discriminated(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind", description="The pet")
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = []


class Undiscriminated(BaseModel):
    pet: Cat | Dog | str | None = None
    value: int | str | list[int] | dict[str, int]


class Dicts(BaseModel):
    counts: dict[str, int]
    nested: dict[str, dict[str, list[float]]] = {}
    anything: dict[str, Any] = {}
    bare: dict = {}  # type: ignore[type-arg]
    models: dict[str, Address] = {}
    by_colour: dict[Colour, int] = {}
    patterned: dict[Annotated[str, Field(pattern="^x-")], int] = {}


class Tuples(BaseModel):
    pair: tuple[float, float]
    mixed: tuple[str, int, bool]
    many: tuple[int, ...] = ()
    maybe: tuple[str, int] | None = None
    nested: list[tuple[str, Address]] = []
    empty: tuple[()] = ()


class Sets(BaseModel):
    tags: set[str]
    frozen: frozenset[int] = frozenset()
    limited: Annotated[list[str], Field(min_length=1, max_length=3)]


class Times(BaseModel):
    day: dt.date
    at: dt.datetime = Field(description="When it happens")
    time: dt.time | None = None
    span: dt.timedelta = dt.timedelta(hours=1)


class Special(BaseModel):
    id: UUID
    price: Decimal
    bounded: Annotated[Decimal, Field(ge=0, max_digits=8, decimal_places=2)] = Decimal(1)
    path: pathlib.Path
    url: AnyUrl | None = None
    address: ipaddress.IPv4Address | None = None
    raw: bytes = b""
    json_text: Json[list[int]] | None = None


class Anything(BaseModel):
    value: Any
    described: Any = Field(None, description="Whatever it is")
    listed: list[Any] = []
    bare: list = []  # type: ignore[type-arg]
    obj: object = None


class Page(BaseModel, Generic[T]):
    items: list[T]
    total: int = Field(ge=0)


class PageHolder(BaseModel):
    addresses: Page[Address]
    numbers: Page[int] | None = None
    again: Page[int]


class Computed(BaseModel):
    width: int
    height: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.width * self.height


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"a": 1}], "x-internal": True})
    a: int


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow", title="Free form")
    a: int = Field(1, alias="the-a", deprecated=True)


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Named(BaseModel):
    point: Point
    points: list[Point] = []


class Numbers(RootModel[list[int]]):
    """Some numbers."""


class HoldsRoot(BaseModel):
    numbers: Numbers
    table: list[list[Numbers]] = []


class Expression(BaseModel):
    op: Literal["and", "or", "not"]
    of: list["Expression | Leaf"]


class Leaf(BaseModel):
    field: str
    is_: str | float | bool | None = Field(None, alias="is")


class Deep(BaseModel):
    class Inner(BaseModel):
        class Core(BaseModel):
            value: Annotated[int, Field(gt=0)]

        core: Core = Field(title="The core", description="Innermost")

    inner: Inner
    inners: dict[str, Inner] = {}


class Unicode(BaseModel):
    größe: int = Field(description="Größe in cm — 尺寸")
    名前: Literal["月", "日"]
    emoji: str = "🌙"


class Empty(BaseModel):
    """Takes nothing."""


class Reserved(BaseModel):
    required: bool = True
    type: str
    properties: dict[str, str] = {}
    items: list[str] = []
    enum: Colour = Colour.RED
    title: str = ""
    description: str = ""


class Inherited(Customer):
    vip: bool = False
    colour: Colour | None = None


@dataclasses.dataclass
class Order:
    """An order of goods."""

    number: int
    lines: list["Line"]
    note: str | None = None
    state: Literal["open", "paid"] = "open"


@dataclasses.dataclass
class Line:
    article: str
    count: Annotated[int, Field(gt=0)] = 1
    size: tuple[int, int] = (0, 0)


class Film(TypedDict):
    """A film."""

    title: str
    year: int


class Festival(TypedDict, total=False):
    """A festival with its films."""

    films: list[Film]
    best: Film | None
    prize: Literal["gold", "silver"]
    where: Annotated[str, ..., "The town"]


MODELS: list[type[BaseModel]] = [
    Plain, Documented, Customer, OneUse, Tree, Linked, Husband, HoldsTree, Enums, Literals, Discriminated,
    Undiscriminated, Dicts, Tuples, Sets, Times, Special, Anything, PageHolder, Page[int], Page[Tree], Computed, Strict,
    Extra, Named, HoldsRoot, Expression, Deep, Unicode, Empty, Reserved, Inherited,
    create_model("Dynamic", a=(int, 1), b=(list[Colour] | None, None)),
]  # fmt: skip


@tool
def search(query: str, limit: int = 10, tags: list[str] | None = None) -> str:
    """Search the archive.

    Args:
        query: What to look for.
        limit: How many.
        tags: Only these.
    """
    return query


@tool(parse_docstring=True)
def move(source: tuple[int, int], target: tuple[int, int], how: Literal["walk", "run"] = "walk") -> str:
    """Move a piece.

    Args:
        source: From where.
        target: To where.
        how: In which way.
    """
    return how


@tool
def book(when: dt.datetime, who: Customer, colour: Colour = Colour.RED, extra: dict[str, Any] | None = None) -> str:
    """Book a room."""
    return "booked"


@tool(args_schema=Discriminated)
def adopt(**_: Any) -> str:
    """Adopt a pet."""
    return "adopted"


@tool
def clock() -> str:
    """Tell the time."""
    return "now"


@tool
def walk(tree: Tree, depth: Annotated[int, Field(ge=0, description="How deep")] = 1) -> str:
    """Walk a tree."""
    return "walked"


@tool
def price(amount: Decimal, until: dt.date | None = None, ids: set[UUID] = frozenset()) -> str:  # type: ignore[assignment]
    """Price something."""
    return "1"


TOOLS = [search, move, book, adopt, clock, walk, price]


def _parameters(source: Any) -> dict[str, Any]:
    found: dict[str, Any] = convert_to_openai_tool(source)["function"]["parameters"]
    return found


def corpus() -> dict[str, dict[str, Any]]:
    """Every schema by a name that says where it comes from."""
    from pydantic import TypeAdapter

    found: dict[str, dict[str, Any]] = {}
    for model in MODELS:
        found[f"pydantic {model.__name__}"] = model.model_json_schema()
        found[f"pydantic {model.__name__} as tool"] = _parameters(model)
        found[f"pydantic {model.__name__} as answer"] = model.model_json_schema(mode="serialization")
    for source in (Order, Film, Festival):
        found[f"adapter {source.__name__}"] = TypeAdapter(source).json_schema()
    for typed in (Film, Festival):
        found[f"typed dict {typed.__name__} as tool"] = _parameters(typed)
    found["union at the root"] = TypeAdapter(Annotated[Cat | Dog, Field(discriminator="kind")]).json_schema()
    found["plain union at the root"] = TypeAdapter(Customer | Order | None).json_schema()
    for made in TOOLS:
        found[f"tool {made.name}"] = _parameters(made)
        assert made.tool_call_schema is not None
        found[f"tool {made.name}, its own schema"] = made.tool_call_schema.model_json_schema()  # type: ignore[union-attr]
    return found
