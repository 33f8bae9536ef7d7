"""The help of a training in two levels: what changes often with the names of the rest, and every option.

tyro writes the whole help, and `shorten_help` cuts it.
"""

from __future__ import annotations

import re
import textwrap

#: Options that are changed often; a command shows those that it has.
EVERYDAY = (
    "--learner", "--preset", "--data", "--split", "--models", "--baselines", "--name", "--out", "--seed", "--updates",
    "--minutes", "--batch-size", "--eval-interval", "--patience", "--device", "--resume", "--init", "--warm-start",
    "--reward", "--actions", "--backbone", "--horizon", "--size", "--limit", "--logger", "--plugin")
#: Lines of a help that is not cut.
MOST_LINES = 80
_WIDTH, _INDENT = 78, 6
#: The title of a box, as terminals show it and as plain text does; and what stands around its lines.
_TITLE = re.compile(r"^(?:╭─ (.+?) ─*╮| (\S[^\n]*?) *\n -{20,} *)$", re.MULTILINE)
_EDGES = re.compile(r"^(?:│ |  )|\s*│?$")


def shorten_help(text: str) -> str:
    """The help that tyro wrote, in at most `MOST_LINES` lines.

    Args:
        text: with boxes of options, "--name METAVAR" and an indented explanation each.

    Returns:
        The same where it is short; else the options of `EVERYDAY` in a sentence each, the names of the others of the
        first box, and the names of the other boxes with their counts.
    """
    if text.count("\n") <= MOST_LINES:
        return text
    head, *boxes = _TITLE.split(text)
    groups = {lined or plain: _options(body)
              for lined, plain, body in zip(boxes[::3], boxes[1::3], boxes[2::3], strict=True)}
    first = groups.pop("options", {})
    shown = {**groups.pop("positional arguments", {}), **groups.pop("subcommands", {})}
    shown |= {flags: about for flags, about in first.items() if set(re.split(r",? ", flags)) & {*EVERYDAY}}
    lines = [*head.strip().splitlines(), ""]
    for flags, about in shown.items():
        lines += [f"{flags}", *textwrap.wrap(_in_a_sentence(about), _WIDTH, initial_indent=" " * _INDENT,
                                             subsequent_indent=" " * _INDENT)]
    others = [flags.split(",")[0].split()[0] for flags in first if flags not in shown and not flags.startswith("-h")]
    lines += ["", *textwrap.wrap("More options: " + " ".join(others), _WIDTH, break_on_hyphens=False)]
    counts = [f"{title.removesuffix(' options')} ({len(options)})" for title, options in groups.items()]
    if counts:
        lines += textwrap.wrap("Groups of options: " + ", ".join(counts), _WIDTH)
    return "\n".join([*lines, "--help-all explains all of them.", ""])


def _options(box: str) -> dict[str, str]:
    """The options of a box: names and value -> explanation."""
    found: dict[str, list[str]] = {}
    for line in (_EDGES.sub("", line) for line in box.splitlines()):
        if line.startswith(("-", "[", "{")) and not line.startswith("---"):
            flags, _, about = line.partition("  ")
            found[flags] = [about.strip()]
        elif found and line.startswith(" "):
            found[list(found)[-1]].append(line.strip())
    return {flags: " ".join(lines).strip() for flags, lines in found.items()}


def _in_a_sentence(about: str) -> str:
    """The first sentence of an explanation, and the default where it is short."""
    first = re.match(r"(?:[^().;]|\([^()]*\)|[.;](?! |$))*", about)
    sentence = re.sub(r" \((?:one of|default)[^()]*\)$", "", first[0].strip()) if first else ""
    default = re.search(r"default: ([^()]{1,60})\)$", about)
    choices = re.search(r"\((one of [^();]{1,90});", about)
    notes = [found[1] for found in (choices,) if found] + [f"default: {found[1]}" for found in (default,) if found]
    return sentence + (f" ({'; '.join(notes)})" if notes else "")
