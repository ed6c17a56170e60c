"""References in the documentation lead somewhere: links, anchors, files, modules, symbols and commands."""

import re
import tomllib
from collections.abc import Container, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from source_names import Source

from ram_avatar.cli.main import COMMANDS
from ram_avatar.cli.motion import MOTION_COMMANDS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "ram_avatar"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "benchmarks").rglob("*.md")),
    *sorted(PACKAGE.rglob("*.md")),
]
# Pages that describe the source: there `motion/` is a folder of the package; elsewhere `curves/` is one of an avatar.
MAPS = {"architecture.md", "method.md", "CONTRIBUTING.md"}
SOURCE_SUFFIXES = "py|md|yaml|toml|js|html|css|txt"
DATA_SUFFIXES = "json|npz|mp4|mkv|mov|webm|png|jpg|csv|safetensors|onnx|asf|amc|bvh|pkl|pem|html|md|yaml|part|lock"
# First words of dotted names that are not this package's.
OTHERS = {"np", "numpy", "torch", "cv2", "math", "time", "onnxruntime", "network"}
# Names that files of other programs give to things.
FOREIGN = {
    "stlpips_pytorch",
    "doc_string",
    "v4l2loopback",
    "Character1_",
    "blendShapes",
    "JawOpen",
    "CTRL_expressions_jawOpen",
    "SMPLX_NEUTRAL",
    "SMPLX_MALE",
    "SMPLX_FEMALE",
    "HDM_bd",
    "HDM_bk",
}
STALE = [
    "body/nobody.py",
    "nobody.py",
    "motion/nothing/",
    "rendering.camera",
    "motion.nothing",
    "Trainer._nothing",
    "NoSuchClass",
    "no_such_name",
    "ram-avatar dance",
    "--no-such-option",
    "make nothing",
    "python benchmarks/nothing.py",
]
GOOD = [
    "body/anny.py",
    "anny.py",
    "motion/",
    "rendering.framing",
    "motion.motion.Motion",
    "Trainer._losses",
    "BodyTemplate",
    "DRIVER",
    "ram-avatar animate AVATAR DRIVER OUT --fps 30",
    "--fps 30",
    "make test",
    "np.uint8",
    "capture.json",
    "jawOpen",
]


@cache
def source() -> Source:
    return Source(PACKAGE)


@cache
def words() -> set[str]:
    """What is defined anywhere in the package, its tests, benchmarks and scripts, keys of data files included."""
    found = set()
    for code in (source(), *(Source(ROOT / folder) for folder in ("tests", "benchmarks", "scripts"))):
        for name, module in code.modules.items():
            if module.path != Path(__file__):  # which names what is nowhere
                found |= module.words | set(name.split("."))
    for path in (*PACKAGE.rglob("*.yaml"), *PACKAGE.rglob("*.js"), *(ROOT / "benchmarks").glob("*.yaml")):
        found |= set(re.findall(r"[\w-]+", path.read_text()))
    return found


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_blocks(text: str) -> str:
    """The text with fenced blocks blanked, so that line numbers stay."""
    return re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), text, flags=re.M | re.S)


def spans(text: str) -> Iterator[tuple[int, str]]:
    """Code in backticks outside of fenced blocks, with its line's number."""
    text = without_blocks(text)
    for match in re.finditer(r"`([^`\n]+)`", text):
        yield text.count("\n", 0, match.start()) + 1, match[1]


def numbered_sections(text: str) -> Iterator[str]:
    for section in re.findall(r"\bmethod(?:\.md\))?, section \d+", text):
        yield f"{section}: docs/method.md has no numbered sections"


@cache
def anchors(page: Path) -> set[str]:
    """Where headings can be linked to, by GitHub's rules."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.+)$", without_blocks(page.read_text()), re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        found[slug] = found.get(slug, 0) + 1
    return {f"{slug}-{n}" if n else slug for slug, count in found.items() for n in range(count)}


def broken_links(page: Path) -> Iterator[str]:
    for text, link in re.findall(r"\[([^]]*)\]\(([^)\s]+)\)", without_blocks(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            yield f"[{text}]({link}): no such file"
        elif anchor and anchor not in anchors(target):
            yield f"[{text}]({link}): no such heading"
    yield from numbered_sections(page.read_text())


def is_there(name: str, page: Path | None = None) -> bool:
    """Whether a path exists from the root, the package or the page's folder; a bare file name must be unique."""
    bases = [ROOT, PACKAGE, *([page.parent] if page else [])]
    if any(list(base.glob(name.rstrip("/"))) for base in bases):
        return True
    return "/" not in name and len(list(PACKAGE.rglob(name))) == 1


def wrong(span: str, page: Path) -> str | None:
    """Why a piece of code in backticks leads nowhere; None where it does, or where it is no reference."""
    if re.fullmatch(rf"[a-z_][\w./*-]*\.({SOURCE_SUFFIXES})", span):
        checked = span.endswith(".py") or ("/" in span and (ROOT / span.partition("/")[0]).exists())
        return "no such file, or several" if checked and not is_there(span, page) else None
    if re.fullmatch(r"[a-z_]+(/[a-z_]+)*/", span):
        mapped = page.name in MAPS or span.count("/") > 1
        return "no such folder" if mapped and not is_there(span, page) else None
    if command := re.match(r"(?:python|make) (\S+)", span):
        if span.startswith("make"):
            return None if f"\n{command[1]}:" in (ROOT / "Makefile").read_text() else "no such target"
        placeholder = re.search(r"[A-Z]{2,}", command[1])
        return None if placeholder or is_there(command[1]) else "no such file"
    if re.match(r"ram-avatar ", span):
        return wrong_command(span)
    if flag := re.match(r"--([a-z][a-z-]+)", span):
        return None if is_flag(flag[1]) else "no such option"
    symbol = re.fullmatch(r"(\.?[A-Za-z_]\w*(?:\.\w+)*)(\(.*\))?", span)
    if not symbol:
        return None
    name = symbol[1].removeprefix("ram_avatar.").lstrip(".")
    if "." in name:
        return wrong_name(name)
    looks_like_code = "_" in name.strip("_") or name.startswith("_") or re.fullmatch(r"([A-Z][a-z]+){2,}", name)
    return "no such name" if looks_like_code and not {name, name.lower()} & (words() | FOREIGN) else None


def wrong_name(name: str) -> str | None:
    """Why a dotted name leads nowhere; see `wrong`."""
    first = name.partition(".")[0]
    if first in OTHERS | FOREIGN or is_file_name(name) or list((ROOT / "benchmarks").rglob(f"{first}.py")):
        return None
    return None if source().leads_somewhere(name) else "no such module or symbol"


def is_file_name(name: str) -> bool:
    """Whether a dotted name is a data file's, such as `capture.json`."""
    return bool(re.search(rf"\.({DATA_SUFFIXES})$", name))


def wrong_command(line: str) -> str | None:
    parts = line.split()
    if parts[1] not in COMMANDS or (parts[1] == "motion" and parts[2:] and parts[2] not in MOTION_COMMANDS):
        return "no such command"
    missing = [flag for flag in re.findall(r"--([a-z][a-z-]+)", line) if not is_flag(flag)]
    return f"no such option: {missing}" if missing else None


def is_flag(name: str) -> bool:
    return bool({name, f"--{name}", name.replace("-", "_"), name.removeprefix("no-").replace("-", "_")} & words())


def assert_none(found: Iterable[str]) -> None:
    found = list(found)
    assert not found, "\n".join(["references that lead nowhere:", *found])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_anchors_lead_somewhere(page):
    assert_none(broken_links(page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_in_backticks_names_what_exists(page):
    assert_none(f"{line}: `{span}`: {why}" for line, span in spans(page.read_text()) if (why := wrong(span, page)))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_blocks_exist(page):
    blocks = page.read_text().split("```")[1::2]
    lines = re.findall(r"^ *((?:ram-avatar|make|python) [^#\n]+)", "\n".join(blocks), re.M)
    assert_none(f"{line}: {why}" for line in lines if (why := wrong(line.strip(), page)))


def test_the_architecture_page_is_a_map():
    page = ROOT / "docs" / "architecture.md"
    assert len({span for _, span in spans(page.read_text()) if span.endswith(".py")}) > 15


def test_the_architecture_page_has_the_rooms_in_their_order():
    (contract,) = (each for each in PROJECT["tool"]["importlinter"]["contracts"] if each["id"] == "rooms")
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## Rooms")[2].partition("\n## ")[0]
    rows = [re.findall(r"`(\w+)`", row) for row in re.findall(r"^\|([^|]+)\|", table, re.M)]
    assert [row for row in rows if row] == [layer.split(" : ") for layer in contract["layers"]]


def test_the_index_leads_to_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", index))
    assert linked == {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}


def test_every_picture_is_shown():
    shown = {Path(link).name for page in PAGES for link in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text())}
    assert shown == {path.name for path in (ROOT / "docs" / "images").iterdir()}


def test_docstrings_and_comments_name_modules_that_exist():
    found = []
    for name, module in source().modules.items():
        at = name if module.path.name == "__init__.py" else name.rpartition(".")[0]
        for line, text in module.prose:
            where = f"{module.path.relative_to(ROOT)}:{line}"
            found += [f"{where}: {why}" for why in wrong_in_prose(text, at, module.identifiers)]
    assert_none(found)


def wrong_in_prose(text: str, at: str, identifiers: Container[str] = ()) -> Iterator[str]:
    """References in a docstring or comment that lead nowhere.

    Args:
        at: the package that the text is in.
        identifiers: what its file names: `frame.pose` may be a variable's.
    """
    for page in re.findall(r"\bdocs/[\w-]+\.md\b", text):
        if not is_there(page):
            yield page
    yield from numbered_sections(text)
    for span in re.findall(r"`([^`\n]+)`", text):
        if re.fullmatch(r"[a-z_][\w/]*\.py", span):
            if not is_there(span):
                yield span
        elif match := re.fullmatch(r"((?:\w+\.)+\w+)(\(.*\))?", span):
            name = match[1].removeprefix("ram_avatar.")
            first = name.partition(".")[0]
            other = (
                is_file_name(name)
                or first in OTHERS | FOREIGN
                or (first in identifiers and first not in source().parts)
            )
            if not other and not source().leads_somewhere(name, at):
                yield span


@pytest.mark.parametrize("span", STALE)
def test_a_stale_reference_is_noticed(span):
    assert wrong(span, ROOT / "docs" / "architecture.md")


@pytest.mark.parametrize("span", GOOD)
def test_a_good_reference_passes(span):
    assert wrong(span, ROOT / "docs" / "architecture.md") is None


def test_broken_links_are_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Here, there\n\n[a](#here-there) [b](#nowhere) [c](gone.md) [d](page.md#here-there), method, section 3\n"
    )
    assert [text[:3] for text in broken_links(page)] == ["[b]", "[c]", "met"]


def test_stale_references_in_docstrings_are_noticed():
    assert list(wrong_in_prose("See `motion.nothing` and `nobody.py`, docs/gone.md (method, section 3).", ""))[3:]
    assert not list(wrong_in_prose("See `motion.motion.Motion`, `config.image_size`, `capture.json`.", "capture"))
