r"""Escape what a user wrote, so that TeX prints it as it stands.

The result is ASCII and needs no font or input encoding: ``é`` becomes ``\'{e}``,
``γ`` ``$\gamma$``, and a character TeX has no name for its code point.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["code", "escape", "greek"]

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
_TYPE = (
    _SPECIAL
    | {c: rf"\symbol{{{ord(c)}}}" for c in "\\{}<>|"}
    | {" ": "~", "-": "-{}", "'": "'{}", "`": "`{}", ",": ",{}", "?": "?{}", "!": "!{}"}
)
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip
_LETTERS = {
    "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}",
    "ł": r"\l{}", "Ł": r"\L{}", "å": r"\aa{}", "Å": r"\AA{}", "ı": r"\i{}", "§": r"\S{}", "¶": r"\P{}",
    "–": "--", "—": "---", "‘": "`", "’": "'", "“": "``", "”": "''", "…": r"\ldots{}",
    "\u00a0": "~", "©": r"\copyright{}",
}  # fmt: skip
_SYMBOLS = {
    "·": r"\cdot", "×": r"\times", "÷": r"\div", "±": r"\pm", "−": "-", "≤": r"\le", "≥": r"\ge", "≠": r"\ne",
    "≈": r"\approx", "∞": r"\infty", "∂": r"\partial", "∇": r"\nabla", "∑": r"\sum", "∏": r"\prod", "√": r"\surd",
    "∈": r"\in", "∉": r"\notin", "→": r"\to", "←": r"\leftarrow", "↦": r"\mapsto", "⇒": r"\Rightarrow",
    "⟨": r"\langle", "⟩": r"\rangle", "‖": r"\Vert", "°": r"^{\circ}", "²": "^{2}", "³": "^{3}", "¹": "^{1}",
    "½": r"\tfrac{1}{2}", "∘": r"\circ", "⊙": r"\odot", "∀": r"\forall", "∃": r"\exists", "∫": r"\int",
    "⌊": r"\lfloor", "⌋": r"\rfloor", "⌈": r"\lceil", "⌉": r"\rceil", "¬": r"\neg", "∧": r"\wedge", "∨": r"\vee",
    "ᵀ": r"^{\top}", "⊤": r"\top", "∝": r"\propto", "ℝ": r"\mathbb{R}", "₀": "_{0}", "₁": "_{1}", "₂": "_{2}",
}  # fmt: skip

_SMALL = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi"
_LARGE = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
_GREEK = {name: rf"\{name}" for name in f"{_SMALL} omega {_LARGE}".split()} | {
    "epsilon": r"\varepsilon",
    "eps": r"\varepsilon",
    "lam": r"\lambda",
}


def greek(name: str) -> str | None:
    """Return the TeX command of a Greek letter, given as a word or as the letter itself."""
    if len(name) == 1 and not name.isascii():
        words = unicodedata.name(name, "").split()
        if words[:1] == ["GREEK"] and len(words) >= 4 and words[2] == "LETTER":
            word = {"LAMDA": "lambda"}.get(words[3], words[3].lower())
            if word == "final":
                word = "sigma"
            return _GREEK.get(word.capitalize() if words[1] == "CAPITAL" else word)
        return None
    return _GREEK.get(name)


def _character(char: str, table: dict[str, str]) -> str:
    if char in table:
        return table[char]
    if char.isascii():
        return char if char.isprintable() else ""
    if char in _LETTERS:
        return _LETTERS[char]
    if char in _SYMBOLS:
        return rf"\ensuremath{{{_SYMBOLS[char]}}}"
    letter = greek(char)
    if letter is not None:
        return rf"\ensuremath{{{letter}}}"
    parts = unicodedata.normalize("NFD", char)
    if len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in _ACCENTS:
        return rf"\{_ACCENTS[parts[1]]}{{{parts[0]}}}"
    return f"[U+{ord(char):04X}]"


def escape(text: str) -> str:
    """Return running text for TeX; long words may be broken after punctuation."""
    text = unicodedata.normalize("NFC", text)
    text = re.sub(r'(^|(?<=[\s(\[]))"', "“", text).replace('"', "”")
    words = []
    for word in re.split(r"(\s+)", text):
        parts = [_character(c, _SPECIAL) for c in word]
        if len(word) > 24:
            since = 0
            for i, c in enumerate(word[:-1]):
                since += 1
                if (not c.isalnum() and since > 3) or since > 24:
                    parts[i] += r"\allowbreak{}"
                    since = 0
        words.append("".join(parts) if word.strip() else ("\n" if "\n" in word else " " if word else ""))
    return "".join(words)


def code(text: str) -> str:
    r"""Return one line of program text for ``\texttt``; spaces stay, nothing becomes a ligature."""
    return "".join(_character(c, _TYPE) for c in unicodedata.normalize("NFC", text.expandtabs(4)))
