"""Secrets in text: what they look like, and the text without them.

Owns the patterns and the order in which they are applied. Which texts are
looked at, and what becomes of keys, is left to `redact`.

All patterns run in Rust's regex engine, also those for a single text, because
its time is linear: a peer chooses the text. Names fold case in ASCII only, and
whitespace is ASCII's, so that a secret does not end at a space that URLs do
not know. No pattern changes what it left behind: applied twice is applied once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

REDACTED = "[redacted]"
SPACE = r"\x00-\x20"
DEEP = "%(?:25)*"  # a percent sign, encoded any number of times
END = rf'&;#"<>{SPACE}'  # none of these is in a value of a query, unless encoded
QUOTED = r"""(?:"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?)"""
USERINFO = rf'://[^/?#"<>{SPACE}]*@'
# An unencoded slash in a password; what begins with digits is a port.
SLASHED = rf'://[^/?#:@\["<>{SPACE}]*:[0-9]*[^0-9/?#@,"<>{SPACE}][^@"<>{SPACE}]*@'
NESTED = rf'({DEEP}3a(?:{DEEP}2f){{2}})(?:[^/?&#"<>%{SPACE}]|%(?:[^23{SPACE}]|2[^3f]|3[^f]))*{DEEP}40'
SCHEMES = "digest|token|apikey|api-key|key|negotiate|ntlm|hawk|oauth|signature|aws4-[a-z0-9-]+"
AUTHORIZATION = (
    r"""(authorization["']?[ \t]*[:=][ \t]*["'\[]*)"""
    rf"""(?:(?:{SCHEMES})[ \t=][^\r\n]+|(?:bearer|basic)[ \t]+[^\s"',;]+|[^\s"',]*[0-9][^\s"']*)"""
)
COOKIE = r"""(cookie["']?[ \t]*:[ \t]*["'\[]*)[^\r\n='"]+=[^\r\n']*"""
BEARER = r"""((?-u:\b)bearer(?:[ +\t]|%20)+)[^\s"'<>,;&]{6,}"""
BASIC = r"((?-u:\b)basic(?:[ +\t]|%20)+)(?:[a-z0-9+/]{4,}(?:=|%3d){1,2}|[a-z0-9+/]{16,})"
TOKEN = r"eyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){1,4}"  # a JSON web token, signed, encrypted or neither
APART = r"[\x00-/:-@\[-`{-~]*"  # between words: ASCII that is neither letter nor digit
HIDDEN_APART = rf"(?:[\x00-/:-@\[-`{{-~]|{DEEP}(?:20|2d|2e|5b|5d|5f))*"
NOTHING = r"\x00\x01"  # where there are no names: what no name is
SHORT = 3  # letters of a literal that is searched for beside its own kind
TOGETHER = 8  # literals: for more of them, case folded, the engine leaves its vector search
# What a statement keeps although digits or quotes are in it; each is followed by NUL on the way.
KEPT = r"`[^`]*`|\$[0-9]{1,3}(?-u:\b)"  # $1 is a parameter
# Whether a backslash escapes, comments nest and # begins one depends on the database. Where they
# disagree on what is a literal, all the rest of the statement is taken for one.
LITERAL = (
    r"'(?:[^'\\]|''|\\[^'])*(?:'|\\'.*|\\?$)"
    r'|"(?:[^"\\]|""|\\[^"])*(?:"|\\".*|\\?$)'
    r"|`.*|\$\$.*?(?:\$\$|$)|\$[A-Za-z_][0-9A-Za-z_]*\$.*"
    r"|/\*(?:[^*/]|\*+[^*/]|/+[^*/])*(?:\*+/|.*)"
    r"|--(?:[ \t\r][^\n]*|\n|$)"
    r"""|(?:#|--)(?:[^\n'"`$]*(?:\n|$)|.*)"""
    r"|(?-u:\b)[0-9][0-9A-Za-z_.]*"
)
STATEMENT = rf"(?s)({KEPT})|{LITERAL}"


def literal(text: str) -> str:
    """Return the pattern of a text; unlike Python's, the engine knows no escaped letter or space."""
    return "".join(rf"\{char}" if char in r"\.+*?()|[]{}^$#&~-" else char for char in text)


def encoded(text: str) -> str:
    """Return the pattern of a text of which any character may be percent-encoded."""
    return "".join(
        f"(?:{literal(char)}|{DEEP}(?:{'|'.join(sorted({f'{ord(one):02x}' for one in (char.lower(), char.upper())}))}))"
        for char in text
    )


def any_of(some: Iterable[str]) -> str:
    """Return the pattern of any of several, the longest first."""
    return "|".join(sorted(set(some), key=lambda one: (-len(one), one))) or NOTHING


def stems(names: Sequence[str]) -> list[str]:
    """Return patterns of a few literals; whatever contains one of the names is found by one of them."""
    words = {name.split()[-1] for name in names}
    least = sorted(word for word in words if not any(other != word and other in word for other in words))
    kinds = [word for word in least if len(word) > SHORT], [word for word in least if len(word) <= SHORT]
    return ["|".join(map(literal, kind[at : at + TOGETHER])) for kind in kinds for at in range(0, len(kind), TOGETHER)]


@dataclass(frozen=True, slots=True)
class Patterns:
    """The patterns of some names.

    A sign is found wherever a step changes something, and sometimes elsewhere:
    all of its parts are in the text, the cheap ones first.
    """

    key: re.Pattern[str]  # of keys whose values are secrets
    signs: tuple[tuple[str, ...], ...]  # of texts
    json_signs: tuple[tuple[str, ...], ...]  # of JSON, for its texts and its keys
    steps: tuple[tuple[str, str], ...]  # pattern, and what it becomes
    sql_steps: tuple[tuple[str, str], ...]  # the same where literals are gone: `token = ?` stays


def patterns(keys: Sequence[str], parameters: Sequence[str], opened: Sequence[str]) -> Patterns:
    """Return the patterns of names in lower case.

    keys: how keys end whose values are secrets, words parted by spaces.
    parameters: of queries, whole names. opened: beginnings of keys that JSON is opened for besides.
    """
    ends = any_of(APART.join(map(literal, key.split())) for key in keys)
    key = re.compile(f"(?:{ends})[^a-z]*$", re.IGNORECASE | re.ASCII)
    exact = [name for name in parameters if not key.search(name)]
    ends, whole = f"(?-u:{ends})", f"(?-u:{any_of(map(literal, exact))})"
    hidden_ends = f"(?-u:{any_of(HIDDEN_APART.join(map(encoded, key.split())) for key in keys)})"
    hidden_whole = f"(?-u:{any_of(map(encoded, exact))})"
    closed = rf"(?:\]|{DEEP}5d)* ?"
    before = f"[?&;#]|{DEEP}(?:3f|26|3b|23)"
    name = f"(?:(?:^|{before}){hidden_whole}|{hidden_ends}{closed})"
    value = f"(?:{QUOTED}|[^{END}])[^{END}]*"
    inner = f"(?:[^%{END}]|%(?:[^23{END}]|2[^36{END}]|3[^b{END}]))+"
    member = (  # of JSON within a text: plain, in single quotes, escaped
        rf"""({ends}"\s*:\s*")(?:[^"\\]|\\.)*"""
        rf"""|({ends}'\s*:\s*')(?:[^'\\]|\\.)*"""
        rf"""|({ends}\\"\s*:\s*\\")(?:[^"\\]|\\[^"])*"""
    )
    signs = (
        ("@", f"{USERINFO}|{SLASHED}"),
        ("=", rf'(?:^|[\n"?&;#\\]){whole}='),
        *(("[=:]", f"(?-u:{stem})", rf"""{ends}[{SPACE}\\"'\]t]*[=:]""") for stem in stems(keys)),
        ("(?-u:bearer|basic|eyj)", r"(?-u:bearer|basic)[ +\t\\%]|(?-u:eyj)"),
        ("%", rf'{NESTED}|(?:^|[\n"\\]|{before}){hidden_whole}(?:=|{DEEP}3d)|{hidden_ends}{closed}(?:=|{DEEP}3d)'),
    )
    of_keys = (
        (rf'{ends}(?:(?-i:[^A-Za-z"\\])|\\u00..|\\[^u])*(?:#(?:int|double|bool|json))?"',),
        (f"(?-u:{any_of(map(literal, opened))})",),
    )
    steps = (
        (USERINFO, f"://{REDACTED}@"),
        (SLASHED, f"://{REDACTED}@"),
        (NESTED, f"${{1}}{REDACTED}@"),
        (AUTHORIZATION, f"${{1}}{REDACTED}"),
        (COOKIE, f"${{1}}{REDACTED}"),
        (rf"""((?:x-[a-z0-9-]*{ends}|api-?key)["']?[ \t]*:[ \t]*["']*)[^\s"',;]+""", f"${{1}}{REDACTED}"),
        (BEARER, f"${{1}}{REDACTED}"),
        (BASIC, f"${{1}}{REDACTED}"),
        (f"({name}{DEEP}3d){inner}", f"${{1}}{REDACTED}"),
        (member, f"${{1}}${{2}}${{3}}{REDACTED}"),
    )

    assigned = (f"(?i)({name}= ?){value}", f"${{1}}{REDACTED}")
    folded_steps = (*((f"(?i){step}", becomes) for step, becomes in steps), (TOKEN, REDACTED))

    def folded(signs: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(f"(?i){part}" for part in sign) for sign in signs)

    return Patterns(
        key,
        folded(signs),
        folded((*signs, *of_keys)),
        (*folded_steps, assigned),
        folded_steps,
    )


def clean(texts: pl.Series, steps: Iterable[tuple[str, str]]) -> pl.Series:
    """Return texts without secrets."""
    for pattern, becomes in steps:
        texts = texts.str.replace_all(pattern, becomes)
    return texts


def shapes(statements: pl.Series) -> pl.Series:
    """Return SQL with ? in the place of literals and comments."""
    marked = statements.str.replace_all(STATEMENT, "${1}\0")
    return marked.str.replace_all(rf"({KEPT})\x00", "${1}").str.replace_all("\0", "?", literal=True)
