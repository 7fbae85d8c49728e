"""Text to Python's syntax tree, with places counted as a reader counts them.

``ast`` gives lines from 1 and columns in UTF-8 bytes from 0; a
:class:`~derive.errors.Span` counts characters from 1. Whatever Python's parser
may do on hostile text (too deep, not text, numbers of a million digits) becomes
one :class:`~derive.errors.LayerSyntaxError` with a place.
"""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from dataclasses import dataclass

from derive.errors import LayerSyntaxError, Source, Span
from derive.language.scope import REDUCTIONS

__all__ = ["MAX_BRACKETS", "MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "Text", "decode", "read"]

MAX_BYTES = 256 * 1024
MAX_BRACKETS = 50
MAX_DEPTH = 100
MAX_NODES = 5000

# A string (an unclosed one runs to the end, so that the scan is linear), a comment, or one bracket.
_LEXEME = re.compile(
    r"""'''(?:\\.|[^\\])*?(?:'''|\Z)|\"\"\"(?:\\.|[^\\])*?(?:\"\"\"|\Z)"""
    r"""|'(?:\\.|[^\\'\n])*+'?|"(?:\\.|[^\\"\n])*+"?|\#[^\n]*|(?P<open>[(\[{])|(?P<close>[)\]}])""",
    re.DOTALL,
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Text:
    """What is parsed, and where it lies in the file that messages quote.

    Attributes:
        source: the whole file.
        first: the line of the file on which the parsed text begins, from 1.
        shifts: characters cut from the front of each parsed line.
        lines: the parsed lines.
    """

    source: Source
    lines: tuple[str, ...]
    first: int = 1
    shifts: tuple[int, ...] = ()

    def span(self, node: ast.AST) -> Span:
        """Return the place of a node; of several lines, the first one's part."""
        line: int = node.lineno  # type: ignore[attr-defined]
        start: int = node.col_offset  # type: ignore[attr-defined]
        end: int = node.end_col_offset  # type: ignore[attr-defined]
        last: int = node.end_lineno  # type: ignore[attr-defined]
        text = self.lines[line - 1] if line <= len(self.lines) else ""
        if last != line:
            end = len(text.encode())
        if not text.isascii():
            data = text.encode()
            start, end = len(data[:start].decode(errors="replace")), len(data[:end].decode(errors="replace"))
        return self.place(line, start, end - start)

    def place(self, line: int, start: int, length: int = 1) -> Span:
        """Return a place from a line from 1 and a character from 0 of the parsed text."""
        shift = self.shifts[line - 1] if line <= len(self.shifts) else 0
        return Span(self.source, self.first + line - 1, start + shift + 1, max(length, 1))


def decode(data: bytes, name: str) -> str:
    """Return the text of a file.

    Raises:
        LayerSyntaxError: it is too large, or not UTF-8.
    """
    if len(data) > MAX_BYTES:
        raise _too_large(len(data), name)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        source = Source(name, data.decode("utf-8-sig", errors="replace"))
        before = data[: error.start].decode("utf-8-sig", errors="replace")
        lines = _lines(before)
        raise LayerSyntaxError(
            f"the file is not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start}",
            Span(source, len(lines), len(lines[-1]) + 1),
            "a layer file is plain text; save it as UTF-8",
        ) from None


def read(
    text: str, name: str, first: int = 1, source: Source | None = None, shifts: tuple[int, ...] = ()
) -> tuple[ast.Module, Text]:
    """Parse layer text as Python, which is never executed.

    Raises:
        LayerSyntaxError: it is not Python, too large or too deeply nested.
    """
    text = text.removeprefix("\ufeff")
    _refuse_hostile(text, name)
    place = Text(source or Source(name, text), tuple(_lines(text)), first, shifts)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(text)
    except SyntaxError as error:
        raise _syntax_error(error, place) from None
    except (RecursionError, MemoryError):
        longest = max(range(len(place.lines)), key=lambda number: len(place.lines[number]))
        raise LayerSyntaxError(
            "an expression is too deeply nested to be read",
            place.place(longest + 1, 0),
            "give parts of the formula names of their own",
        ) from None
    except (ValueError, OverflowError) as error:
        raise LayerSyntaxError(f"the text can't be read: {error}", place.place(1, 0)) from None
    _refuse_deep(module, place)
    for node in module.body:
        for statement in getattr(node, "body", ()):
            if sum(1 for _ in ast.walk(statement)) > MAX_NODES:
                raise LayerSyntaxError(
                    f"a statement of more than {MAX_NODES} names, numbers and operators",
                    place.span(statement),
                    "give parts of the formula names of their own",
                )
    return module, place


def _lines(text: str) -> list[str]:
    return re.split("\r\n|\r|\n", text)


def _too_large(size: int, name: str) -> LayerSyntaxError:
    return LayerSyntaxError(
        f"the text has {size} bytes; a layer file has at most {MAX_BYTES}",
        Span(Source(name, ""), 1, 1),
        "split it into several files",
    )


def _refuse_hostile(text: str, name: str) -> None:
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        lines = _lines(text[: error.start])
        raise LayerSyntaxError(
            f"character U+{ord(text[error.start]):04X} is half of a character",
            Span(Source(name, text), len(lines), len(lines[-1]) + 1),
            "a layer file is plain text in UTF-8",
        ) from None
    if size > MAX_BYTES:
        raise _too_large(size, name)
    control = _CONTROL.search(text)
    if control:
        lines = _lines(text[: control.start()])
        raise LayerSyntaxError(
            f"control character U+{ord(control.group()):04X} in the text",
            Span(Source(name, text), len(lines), len(lines[-1]) + 1),
            "a layer file is plain text; is this a binary file?",
        )
    depth = 0
    for match in _LEXEME.finditer(text):
        if match.group("open"):
            depth += 1
        elif match.group("close"):
            depth = max(depth - 1, 0)
        if depth > MAX_BRACKETS:
            lines = _lines(text[: match.start()])
            raise LayerSyntaxError(
                f"brackets are nested more than {MAX_BRACKETS} deep",
                Span(Source(name, text), len(lines), len(lines[-1]) + 1),
                "give parts of the formula names of their own",
            )


def _syntax_error(error: SyntaxError, place: Text) -> LayerSyntaxError:
    message = error.msg or "invalid syntax"
    hint = None
    if message.startswith("Exceeds the limit"):
        message, hint = "a number of more than 4300 digits", "write it with an exponent, such as 1e30"
    message = re.sub(r" \(detected at line \d+\)|\.$", "", message)
    message = re.sub(r" on line (\d+)", lambda m: f" on line {int(m[1]) + place.first - 1}", message)
    if message[:1].isupper() and not message[:2].isupper():
        message = message[0].lower() + message[1:]
    if message.startswith("invalid syntax"):
        hint = "a layer file has Python's syntax: def name(x: Real[N, D]): … return y"
        at, text = (error.offset or 1) - 1, error.text or ""
        word = re.match(r"\w+", text[at:])
        if word and keyword.iskeyword(word[0]):
            hint = f"'{word[0]}' is a word of Python's syntax: choose another name"
        reduced = re.search(r"\b(\w+)\[([^][]*)\] *$", text[:at])
        if reduced and reduced[1] in REDUCTIONS:
            hint = f"what is reduced stands in brackets: {reduced[1]}[{reduced[2]}](…)"
    if isinstance(error, IndentationError):
        hint = "the body of a def is indented by the same number of spaces on every line"
    line = min(max(error.lineno or 1, 1), len(place.lines))
    text = place.lines[line - 1]
    start = min(max((error.offset or 1) - 1, 0), len(text))
    length = 1
    if error.end_lineno == line and error.end_offset and error.end_offset - 1 > start:
        length = min(error.end_offset - 1, len(text)) - start
    return LayerSyntaxError(message, place.place(line, start, length), hint)


def _refuse_deep(module: ast.Module, place: Text) -> None:
    """Refuse a tree that recursive functions could not walk."""
    level: list[ast.AST] = [module]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    deep = next((node for node in level if hasattr(node, "lineno")), None)
    raise LayerSyntaxError(
        f"an expression is nested more than {MAX_DEPTH} deep, or a chain of operators is longer",
        place.span(deep) if deep is not None else place.place(1, 0),
        "give parts of the formula names of their own",
    )
