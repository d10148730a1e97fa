"""The arguments of the commands that talk to the account; what runs them is loaded when they run."""

from typing import Any

MODEL = "kimi-k2.6"
PURPOSES = ("file-extract", "image", "video", "batch")


def declare(commands: Any) -> None:
    """Adds `ask`, `tokens`, `balance` and `files` to the parser."""
    ask = commands.add_parser(
        "ask",
        help="a live agent with Moonshot's date, web search and fetch tools",
        epilog="example: langchain-kimi ask 'What is new in Oslo?'",
    )
    ask.add_argument("question")
    ask.add_argument("--model", default=MODEL, help="default: %(default)s")
    ask.add_argument("--formula", action="append", metavar="URI", help="other tools, e.g. moonshot/quickjs:latest")
    tokens = commands.add_parser(
        "tokens",
        help="how many tokens a prompt has",
        epilog="example: langchain-kimi tokens prompt.txt",
    )
    tokens.add_argument("file", metavar="FILE", help="a text, messages or a chat request in JSON, or - for stdin")
    tokens.add_argument("--model", default=MODEL, help="default: %(default)s")
    tokens.add_argument("--exact", action="store_true", help="ask Kimi instead of estimating")
    commands.add_parser("balance", help="the account's money", epilog="example: langchain-kimi balance")
    actions = commands.add_parser("files", help="the account's files").add_subparsers(dest="action", required=True)
    actions.add_parser(
        "list",
        help="all files: id, bytes, purpose, status, name",
        epilog="example: langchain-kimi files list",
    )
    upload = actions.add_parser("upload", help="upload files", epilog="example: langchain-kimi files upload report.pdf")
    upload.add_argument("paths", nargs="+", metavar="FILE")
    upload.add_argument("--purpose", choices=PURPOSES, default="file-extract", help="default: %(default)s")
    content = actions.add_parser(
        "content",
        help="print what a file holds, or the text extracted from it",
        epilog="example: langchain-kimi files content FILE_ID",
    )
    content.add_argument("id", metavar="ID")
    content.add_argument("-o", "--output", metavar="FILE", help="write it there")
    delete = actions.add_parser("delete", help="delete files", epilog="example: langchain-kimi files delete FILE_ID")
    delete.add_argument("ids", nargs="+", metavar="ID")


def run(chosen: Any) -> int:
    """Run one of them; the exit status."""
    if chosen.command == "ask":
        from langchain_kimi.cli import ask

        return ask.run(chosen.question, model=chosen.model, formulas=chosen.formula)
    from langchain_kimi.cli import account

    return account.run(chosen)
