"""A ``CProgram`` as text: one C file and one header, without dependencies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sympy import Expr, Mul

from derive import __version__
from derive.algebra.nodes import BATCH, BATCH_SIZE, Element
from derive.algebra.text import show
from derive.nests.nodes import (
    Argument,
    Buffer,
    Check,
    Comment,
    CProgram,
    Function,
    Gemm,
    Kind,
    Local,
    Loop,
    Matrix,
    Node,
    Role,
    Store,
)
from derive.render.c_functions import HELPERS, VECTOR_FUNCTIONS, needed
from derive.render.c_text import Text
from derive.render.templates import environment

__all__ = ["render"]

WIDTH = 118
_INDENT = "    "

_KEYWORDS = frozenset(
    """auto break case char const continue default do double else enum extern float for goto if inline int long
register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm typeof
and or not xor bool true false class new delete this private public template namespace using virtual try catch throw
operator main real
workspace space bytes thread element batch taken aligned gemm blas_gemm ptrdiff_t size_t int64_t INFINITY NAN NULL
I linux unix errno complex imaginary sqrt fabs pow exp log log1p expm1 sin cos tan asin acos atan sinh cosh tanh erf
erfc lgamma floor ceil rint fmod""".split()  # noqa: SIM905
)
_CTYPES = {Kind.REAL: "real", Kind.INT: "int64_t", Kind.BOOL: "unsigned char"}


@dataclass(slots=True)
class _FunctionText:
    signature: str
    workspace: str
    lines: list[str]
    room: list[str]
    comment: list[str]


def render(program: CProgram) -> tuple[str, str]:
    """Return the text of ``NAME.c`` and ``NAME.h``."""
    used: set[str] = set()
    functions = [_function(program, f, used) for f in (program.forward, program.backward)]
    helpers = [environment("c").get_template(f"functions/{name}.c").render().rstrip("\n") for name in needed(used)]
    text = "\n".join([*helpers, *(line for f in functions for line in f.lines)])
    vector = [name for name in VECTOR_FUNCTIONS if re.search(rf"\b{name}\(", text)]
    view = {
        "name": program.layer,
        "version": __version__,
        "source": program.source,
        "doc": program.doc.strip().splitlines(),
        "guard": f"DERIVE_{program.layer.upper()}_H",
        "helpers": helpers,
        "vector": [_vector(name) for name in vector],
        "gemm": "gemm" in used,
        "threads": bool(used & {"thread_count", "thread_limit"}),
        "functions": functions,
    }
    env = environment("c")
    return env.get_template("layer.c.jinja").render(view), env.get_template("layer.h.jinja").render(view)


@dataclass(slots=True)
class _Writer:
    text: Text
    names: dict[str, str]
    taken: set[str]
    kinds: dict[str, Kind]
    lines: list[str] = field(default_factory=list)
    scopes: list[set[str]] = field(default_factory=list)

    def line(self, depth: int, text: str) -> None:
        """Append a line, broken where it is long."""
        self.lines += _broken(_INDENT * depth, text)

    def nodes(self, nodes: Iterable[Node], depth: int) -> None:
        for node in nodes:
            match node:
                case Comment():
                    self.lines.append("")
                    self._comment(node, depth)
                case Check():
                    self._check(node, depth)
                case Local():
                    self._local(node, depth)
                case Store():
                    self._store(node, depth)
                case Gemm():
                    self._gemm(node, depth)
                case Loop():
                    self._loop(node, depth)

    def _comment(self, node: Comment, depth: int) -> None:
        lines = [line.replace("*/", "* /") for line in node.lines]
        for k, line in enumerate(lines):
            start = "/* " if k == 0 else "   "
            end = " */" if k == len(lines) - 1 else ""
            self.lines += _wrapped(_INDENT * depth + start, line + end, _INDENT * depth + "     ")

    def _check(self, node: Check, depth: int) -> None:
        name = self.names[node.name]
        count = self.text.whole(Mul(*self.text.shapes[node.name]))
        size = self.text.whole(node.size)
        i = self._letter("i")
        self.line(depth, f"for (ptrdiff_t {i} = 0; {i} < {count}; ++{i})")
        self.line(depth + 1, f"if ({name}[{i}] < 0 || {name}[{i}] >= {size})")
        self.line(depth + 2, f"return {node.code};")

    def _letter(self, letter: str) -> str:
        """Return a name for the counter of a loop of ours: the letter, unless the layer has it."""
        return _free(letter, self.taken | set(self.names.values()))

    def _local(self, node: Local, depth: int) -> None:
        name = self.names[node.name]
        kind = {Kind.REAL: "real", Kind.INT: "int64_t", Kind.BOOL: "int"}[node.kind]
        value = self.text.typed(node.value, real=node.kind is Kind.REAL or not self.text.is_int(node.value))
        self.line(depth, f"{'const ' if node.constant else ''}{kind} {name} = {value};")


    def _store(self, node: Store, depth: int) -> None:
        conditions = [self.text.inside(p, s) for p, s in node.conditions]
        if conditions:
            self.line(depth, f"if ({' && '.join(conditions)})")
            depth += 1
        target = self.text.access(node.name, node.subscripts)
        value = self.text.typed(node.value, real=node.kind is Kind.REAL or not self.text.is_int(node.value))
        if node.op in ("max", "min"):
            sign = ">" if node.op == "max" else "<"
            if not isinstance(node.value, Element):
                outer = depth - 1 if conditions else depth
                self.line(outer, "{")
                self.line(outer + 1, f"const {_CTYPES[node.kind]} element = {value};")
                self.line(outer + 1, f"{target} = element {sign} {target} ? element : {target};")
                self.line(outer, "}")
                return
            self.line(depth, f"{target} = {value} {sign} {target} ? {value} : {target};")
            return
        number, _ = node.value.as_coeff_Mul()
        if node.op == "+=" and number.is_negative:
            value = self.text.typed(-node.value, real=True)
            self.line(depth, f"{target} -= {value};")
            return
        self.line(depth, f"{target} {node.op} {value};")

    def _gemm(self, node: Gemm, depth: int) -> None:
        self.text.used.add("gemm")
        alpha = self.text.value(node.alpha)
        sizes = ", ".join(self.text.whole(s) for s in (node.m, node.n, node.k))
        a, b, c = (self._matrix(m) for m in (node.a, node.b, node.c))
        flags = f"{int(node.a.transposed)}, {int(node.b.transposed)}"
        self.line(depth, f"gemm({flags}, {sizes}, {alpha}, {a}, {b}, {node.beta}, {c});")

    def _matrix(self, matrix: Matrix) -> str:
        offset = self.text.whole(matrix.offset)
        name = self.names[matrix.name]
        return f"{name}{f' + {offset}' if offset != '0' else ''}, {self.text.whole(matrix.stride)}"

    def _loop(self, node: Loop, depth: int) -> None:
        outer = dict(self.text.letters)
        if node.conditions:
            tests = " && ".join(self.text.inside(p, s) for p, s in node.conditions)
            self.line(depth, f"if ({tests}) {{")
            self._loop(replace(node, conditions=()), depth + 1)
            self.line(depth, "}")
            return
        letter = _free("b" if node.index == BATCH else node.index.name, self.taken | set(outer.values()))
        size = self.text.whole(node.index.size)
        first, stop = "0", size
        for number, r in enumerate(node.ranges):
            self.text.used |= {"first_inside", "stop_inside"}
            numbers = [self.text.whole(e) for e in (r.factor, r.start, r.size)]
            names = [_free(f"{letter}_{word}", self.taken) for word in ("first", "stop")]
            self.taken |= set(names)
            given = ", ".join(numbers)
            start, end = f"first_inside({given})", f"stop_inside({given}, {stop})"
            if number:
                start = f"{first} > {start} ? {first} : {start}"
            self.line(depth, f"const ptrdiff_t {names[0]} = {start};")
            self.line(depth, f"const ptrdiff_t {names[1]} = {end};")
            first, stop = names
        self.text.letters[node.index] = letter
        clauses = self._clauses(node)
        threads = self._threads(node, depth)
        if node.threads is not None:
            word = "for simd" if node.simd else "for"
            self.lines += _pragma(f"omp parallel {word} schedule(static) num_threads({threads})", clauses)
        elif node.simd:
            self.lines += _pragma("omp simd", clauses)
        if node.step == -1:
            head = f"for (ptrdiff_t {letter} = {stop} - 1; {letter} >= {first}; --{letter})"
        else:
            head = f"for (ptrdiff_t {letter} = {first}; {letter} < {stop}; ++{letter})"
        inner = _Writer(self.text, self.names, self.taken, self.kinds)
        own = self._own(node, inner, depth + 1)
        inner.nodes(node.body, depth + 1)
        self.names.update(own)
        braces = len(node.body) != 1 or isinstance(node.body[0], Local) or len(inner.lines) > 1
        self.line(depth, head + (" {" if braces else ""))
        self.lines += inner.lines
        if braces:
            self.line(depth, "}")
        self._together(node, threads, depth)
        self.text.letters.clear()
        self.text.letters.update(outer)


    def _clauses(self, node: Loop) -> list[str]:
        """Return a clause for each operator that accumulates variables."""
        names: dict[str, list[str]] = {}
        for op, name in node.reductions:
            names.setdefault({"+=": "+"}.get(op, op), []).append(self.names[name])
        return [f"reduction({op} : {', '.join(own)})" for op, own in names.items()]

    def _threads(self, node: Loop, depth: int) -> str:
        """Write what comes before a loop that is divided among threads; return their number."""
        if node.threads is None:
            return ""
        self.text.used.add("thread_count")
        count = f"thread_count({self.text.whole(node.threads.work)})"
        if not node.threads.sums:
            return count
        name = _free("threads", self.taken)
        self.taken.add(name)
        self.line(depth, f"const int {name} = {count};")
        for array in node.threads.sums:
            size = self.text.factor(Mul(*self.text.shapes[array]))
            i = self._letter("i")
            self.line(depth, f"for (ptrdiff_t {i} = 0; {i} < ({name} - 1) * {size}; ++{i})")
            self.line(depth + 1, f"{self.names[array]}_parts[{i}] = 0;")
        return name

    def _own(self, node: Loop, inner: _Writer, depth: int) -> dict[str, str]:
        """Declare a thread's own arrays at the start of the loop's body; return the names that they hide."""
        threads = node.threads
        if threads is None or not (threads.own or threads.sums):
            return {}
        hidden: dict[str, str] = {}
        inner.line(depth, "const int thread = thread_number();")
        for array in threads.own:
            size = self.text.factor(Mul(*self.text.shapes[array]))
            kind = _CTYPES[Kind.REAL] if array not in self.kinds else _CTYPES[self.kinds[array]]
            name = self.names[array]
            inner.line(depth, f"{kind} *restrict {name} = {name}_each + thread * {size};")
        for array in threads.sums:
            size = self.text.factor(Mul(*self.text.shapes[array]))
            name = hidden[array] = self.names[array]
            own = self.names[array] = _free(f"{name}_own", self.taken)
            self.taken.add(own)
            inner.line(
                depth, f"real *restrict {own} = thread ? {name}_parts + (thread - 1) * {size} : {name};"
            )
        return hidden

    def _together(self, node: Loop, threads: str, depth: int) -> None:
        """Add up the parts of the threads."""
        if node.threads is None:
            return
        for array in node.threads.sums:
            size = self.text.factor(Mul(*self.text.shapes[array]))
            name = self.names[array]
            i, k = self._letter("i"), self._letter("k")
            self.line(depth, f"for (int {k} = 0; {k} < {threads} - 1; ++{k})")
            self.line(depth + 1, f"for (ptrdiff_t {i} = 0; {i} < {size}; ++{i})")
            self.line(depth + 2, f"{name}[{i}] += {name}_parts[{k} * {size} + {i}];")


def _free(name: str, taken: Iterable[str]) -> str:
    taken = set(taken)
    if name not in taken:
        return name
    number = 2
    while f"{name}{number}" in taken:
        number += 1
    return f"{name}{number}"


def _pragma(text: str, clauses: Sequence[str]) -> list[str]:
    """Return the lines of a pragma, one a clause where one line would be long."""
    line = " ".join([f"#pragma {text}", *clauses])
    if len(line) <= WIDTH:
        return [line]
    lines = [f"#pragma {text}", *(f"    {c}" for c in clauses)]
    return [f"{part} \\" for part in lines[:-1]] + lines[-1:]


def _broken(indent: str, text: str) -> list[str]:
    """Break a long line after a comma or before an operator, continued under its first bracket or indented."""
    if len(indent) + len(text) <= WIDTH:
        return [indent + text]
    lines: list[str] = []
    lead = indent
    more = indent + " " * 4
    rest = text
    while len(lead) + len(rest) > WIDTH:
        room = WIDTH - len(lead)
        places = [m.end() for m in re.finditer(r", | (?=[-+*/?:&|] )|\) (?=[-+*/?:&|=])|= ", rest[:room])]
        if not places:
            break
        place = max(places)
        lines.append((lead + rest[:place]).rstrip())
        rest = rest[place:]
        lead = more
    lines.append(lead + rest)
    return lines


def _wrapped(lead: str, text: str, more: str) -> list[str]:
    lines: list[str] = []
    while len(lead) + len(text) > WIDTH:
        place = text.rfind(" ", 0, WIDTH - len(lead))
        if place <= 0:
            break
        lines.append(lead + text[:place])
        text = text[place + 1 :]
        lead = more
    return [*lines, lead + text]


def _function(program: CProgram, function: Function, used: set[str]) -> _FunctionText:
    reserved = {*_KEYWORDS, *HELPERS, *VECTOR_FUNCTIONS}
    taken: set[str] = set(reserved)
    names: dict[str, str] = {}
    for argument in function.arguments:
        name = "batch" if argument.source == "..." else _free(argument.name, taken)
        names[argument.name] = name
        taken.add(name)
    for size, _ in function.derived:
        names[size.name] = _free(size.name, taken)
        taken.add(names[size.name])
    for buffer in function.buffers:
        if not buffer.part:
            names[buffer.name] = _free(buffer.name, taken)
        taken |= {names[buffer.name], f"{names[buffer.name]}_each", f"{names[buffer.name]}_parts"}
    for name in _variables(function.body):
        names[name] = _free(name, taken)
        taken.add(names[name])
    shapes = {a.name: a.shape for a in function.arguments if not a.by_value}
    shapes |= {b.name: b.shape for b in function.buffers if not b.part}
    text = Text(names, shapes)
    writer = _Writer(text, names, taken, {b.name: b.kind for b in function.buffers})
    writer.nodes(function.body, 1)
    derived = [f"{_INDENT}const ptrdiff_t {names[s.name]} = {text.whole(e)};" for s, e in function.derived]
    sized = [(b, _bytes(text, b)) for b in function.buffers]
    buffers = [
        line
        for b, size in sized
        for line in _broken(_INDENT, f"{_pointer(b)}{names[b.name]}{_suffix(b)} = taken(&space, {size}); {_note(b)}")
    ]
    if any(b.each or b.part for b in function.buffers):
        text.used |= {"thread_limit", "thread_number"}
    if buffers:
        text.used |= {"taken", "aligned"}
        buffers.insert(0, f"{_INDENT}char *space = workspace;")
    room = [line for _, size in sized for line in _broken(_INDENT, f"bytes += aligned({size});")]
    used |= text.used
    body = "\n".join(writer.lines)
    kept = _live(derived, "\n".join([*buffers, body]))
    quiet = [
        f"{_INDENT}(void){names[a.name]};"
        for a in function.arguments
        if not re.search(rf"\b{names[a.name]}\b", _code("\n".join([*kept, *buffers, body])))
    ]
    if not buffers:
        quiet.append(f"{_INDENT}(void)workspace;")
    room_kept = _live(derived, "\n".join(room))
    room_quiet = [
        f"{_INDENT}(void){names[a.name]};"
        for a in function.arguments
        if a.by_value and not re.search(rf"\b{names[a.name]}\b", "\n".join([*room_kept, *room]))
    ]
    lines = [*quiet, *kept, *buffers, *writer.lines]
    while lines and lines[0] == "":
        del lines[0]
    return _FunctionText(
        signature=_signature(f"int {function.name}", function.arguments, names, "void *workspace"),
        workspace=_signature(
            f"size_t {function.name}_workspace", [a for a in function.arguments if a.by_value], names, ""
        ),
        lines=lines,
        room=[*room_quiet, *room_kept, f"{_INDENT}size_t bytes = 0;", *room],
        comment=_description(function, names),
    )


def _variables(nodes: Iterable[Node]) -> Iterable[str]:
    for node in nodes:
        if isinstance(node, Local):
            yield node.name
        elif isinstance(node, Loop):
            yield from _variables(node.body)


def _vector(name: str) -> str:
    """Return the declarations that let a compiler call the C library's vector version of a function."""
    def declared(suffix: str, kind: str) -> str:
        arguments = f"{kind}, {kind}" if name == "pow" else kind
        return f'__attribute__((simd("notinbranch"))) {kind} ({name}{suffix})({arguments});'

    return declared("f", "float") + "\n" + declared("", "double")


def _live(derived: Sequence[str], text: str) -> list[str]:
    """Return the definitions of sizes that are used."""
    kept: list[str] = []
    for line in reversed(derived):
        name = line.split(" = ")[0].split()[-1]
        if re.search(rf"\b{name}\b", _code("\n".join([text, *kept]))):
            kept.insert(0, line)
    return kept


def _code(text: str) -> str:
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def _bytes(text: Text, buffer: Buffer) -> str:
    size = f"sizeof({_CTYPES[buffer.kind]}) * (size_t)({text.whole(Mul(*buffer.shape))})"
    if buffer.each:
        return f"{size} * (size_t)thread_limit()"
    return f"{size} * (size_t)(thread_limit() - 1)" if buffer.part else size


def _pointer(buffer: Buffer) -> str:
    return f"{_CTYPES[buffer.kind]} *{'const ' if buffer.each or buffer.part else 'restrict '}"


def _suffix(buffer: Buffer) -> str:
    return "_each" if buffer.each else "_parts" if buffer.part else ""


def _note(buffer: Buffer) -> str:
    times = ", for each thread" if buffer.each else ", for each thread but the first" if buffer.part else ""
    return f"/* {_shape(buffer.shape)}{times} */"


def _shape(shape: Sequence[Expr]) -> str:
    return "[" + ", ".join("..." if s == BATCH_SIZE else show(s) for s in shape) + "]"


def _signature(head: str, arguments: Sequence[Argument], names: dict[str, str], last: str) -> str:
    parts: list[str] = []
    for a in arguments:
        name = names[a.name]
        if a.role is Role.SIZE:
            parts.append(f"ptrdiff_t {name}")
        elif a.role is Role.HYPER:
            parts.append(f"{ {Kind.REAL: 'real', Kind.INT: 'ptrdiff_t', Kind.BOOL: 'int'}[a.kind] } {name}")
        else:
            written = a.written or (a.role is Role.CACHE and head.endswith("_forward"))
            parts.append(f"{'' if written else 'const '}{_CTYPES[a.kind]} *restrict {name}")
    if last:
        parts.append(last)
    lead = f"{head}("
    lines: list[str] = []
    for k, part in enumerate(parts):
        end = "," if k < len(parts) - 1 else ")"
        if lines and len(lines[-1]) + len(part) + len(end) + 1 <= WIDTH:
            lines[-1] += f" {part}{end}"
        elif not lines:
            lines.append(lead + part + end)
        else:
            lines.append(" " * len(lead) + part + end)
    return "\n".join(lines) if parts else f"{head}(void)"


def _description(function: Function, names: dict[str, str]) -> list[str]:
    """Return what the header says of a function's arrays."""
    lines: list[str] = []
    for role, word in (
        (Role.INPUT, "in"), (Role.CACHE, "cache"), (Role.COTANGENT, "in"), (Role.OUTPUT, "out"), (Role.GRADIENT, "out"),
    ):  # fmt: skip
        for a in function.arguments:
            if a.role is role:
                kind = {Kind.REAL: "", Kind.INT: ", int64_t", Kind.BOOL: ", 0 or 1"}[a.kind]
                lines.append(f"{names[a.name]}: {_shape(a.shape)}{kind} ({word})")
    return lines

