"""What a newer specification of the exchange changes for us.

`python tools/spec_diff.py OLD NEW`                       two OpenAPI files
`python tools/spec_diff.py OLD NEW --asyncapi OLD NEW`    and two AsyncAPI files

Operations, channels, fields and the values of enumerations that this program uses are compared; what it uses is read from the
client's calls, from the structs into which answers and frames are read, and from the schemas of `diagnostics`. Exit status 1 if
any of that is gone, has another type or other values, or is newly required; what is only new is listed and changes nothing.
"""
import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from kalshi_mm.client import market_data, portfolio
from kalshi_mm.diagnostics import schemas
from kalshi_mm.feed import frames
from kalshi_mm.feed.subscriptions import CHANNELS

CLIENT = Path(market_data.__file__).parent
METHODS = ("get", "post", "put", "delete", "patch")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where it is compiled in
DEPTH = 9  # of nested objects that are followed


class Form(msgspec.Struct, frozen=True):
    "What a specification says of one field"

    type: str
    values: tuple[str, ...] = ()  # of an enumeration
    required: bool = False


Forms = dict[str, Form]  # by path, such as `orders.*.side`


# ---- what we use

def used_names() -> set[str]:
    "Fields that are read or written: of structs and shapes, and the keys of dictionaries in the client"
    names = {field.encode_name for room in (market_data, portfolio, frames, schemas) for kind in vars(room).values()
             if isinstance(kind, type) and issubclass(kind, msgspec.Struct) for field in msgspec.structs.fields(kind)}
    for node in (n for f in CLIENT.glob("*.py") for n in ast.walk(ast.parse(f.read_text(encoding="utf-8")))):
        if isinstance(node, ast.Dict): names |= {str(k.value) for k in node.keys if isinstance(k, ast.Constant)}
    return names


def used_operations() -> set[tuple[str, str]]:
    "(method, path with `{}` for each parameter) of the client's calls; the method `*` where a call has it in a variable"
    found: set[tuple[str, str]] = set()
    for node in (n for f in CLIENT.glob("*.py") for n in ast.walk(ast.parse(f.read_text(encoding="utf-8")))):
        match node:
            case ast.Call(func=ast.Attribute(attr="call"), args=[ast.Constant(str(method)), ast.Constant(str(path)), *_]):
                found.add((method.lower(), plain(path)))
            case ast.Call(func=ast.Attribute(attr="pages"), args=[ast.Constant(str(path)), *_]): found.add(("get", plain(path)))
            case ast.Assign(value=ast.Constant(str(path))) if path.startswith("/"): found.add(("*", plain(path)))
    return found


def plain(path: str) -> str: return re.sub(r":\w+|\{\w+\}", "{}", path)


FRAMES = {str(kind.__struct_config__.tag) for kind in frames._Typed.__subclasses__()}


# ---- what a specification says

def resolved(spec: dict[str, Any], node: Any) -> dict[str, Any]:
    while isinstance(node, dict) and "$ref" in node:
        name = node["$ref"]
        node = spec
        for part in name.removeprefix("#/").split("/"): node = node[part.replace("~1", "/")]
    return node if isinstance(node, dict) else {}


def forms(
    spec: dict[str, Any],
    node: Any,  # a schema or a reference to one
    where: str = "",  # its path
    required: bool = False,
    depth: int = 0,
) -> Iterator[tuple[str, Form]]:
    "Every field of a schema, by its path"
    schema = resolved(spec, node)
    kind = schema.get("type", "object" if "properties" in schema else "")
    values = tuple(sorted(map(str, schema.get("enum", [schema["const"]] if "const" in schema else []))))
    if where: yield where, Form(" or ".join(kind) if isinstance(kind, list) else kind, values, required)
    if depth > DEPTH: return
    for part in [*schema.get("allOf", []), *schema.get("anyOf", []), *schema.get("oneOf", [])]:
        yield from ((path, form) for path, form in forms(spec, part, where, required, depth + 1) if path != where or form.type)
    for name, inner in schema.get("properties", {}).items():
        path = f"{where}.{name}".lstrip(".")
        yield from forms(spec, inner, path, name in schema.get("required", []), depth + 1)
    if "items" in schema: yield from forms(spec, schema["items"], f"{where}.*".lstrip("."), False, depth + 1)


def operations(spec: dict[str, Any]) -> dict[tuple[str, str], dict[str, Forms]]:
    "{(method, path): {what is asked and what is answered: its fields}}"
    found = {}
    for path, node in spec.get("paths", {}).items():
        for method in METHODS:
            if method not in node: continue
            op, parts = node[method], dict[str, Forms]()
            given = [resolved(spec, p) for p in [*node.get("parameters", []), *op.get("parameters", [])]]
            parts["query"] = {p["name"]: form for p in given if p["in"] == "query"
                              for path_, form in forms(spec, p.get("schema", {}), p["name"], p.get("required", False))
                              if path_ == p["name"]}
            parts["body"] = dict(forms(spec, content(resolved(spec, op.get("requestBody")))))
            for status, answer in op.get("responses", {}).items():
                if str(status).startswith("2"): parts["answer"] = dict(forms(spec, content(resolved(spec, answer))))
            found[method, plain(path)] = parts
    return found


def content(node: dict[str, Any]) -> Any: return node.get("content", {}).get("application/json", {}).get("schema", {})


def messages(spec: dict[str, Any]) -> dict[str, dict[str, Forms]]:
    "{type of a frame or name of a command: its fields}"
    found: dict[str, dict[str, Forms]] = {}
    for node in spec.get("components", {}).get("messages", {}).values():
        fields = dict(forms(spec, node.get("payload", {})))
        for name in fields.get("type", fields.get("cmd", Form(""))).values:
            part = "answer" if "type" in fields else "body"
            found.setdefault(name, {part: {}})[part] |= fields
    return found


# ---- the comparison

def compare(name: str, old: dict[str, Forms], new: dict[str, Forms], names: set[str]) -> Iterator[tuple[bool, str]]:
    "(whether it concerns us, a sentence) of each difference of one operation or message"
    for part in dict.fromkeys((*old, *new)):
        was, now = old.get(part, {}), new.get(part, {})
        for path in sorted(was.keys() | now.keys()):
            leaf = next((p for p in reversed(path.split(".")) if p != "*"), "")
            for serious, text in changes(part, was.get(path), now.get(path)):
                needed = part != "answer" and text == "is new and required"
                yield serious and (leaf in names or needed), f"{name}, {part} {path}: {text}"


def changes(part: str, was: Form | None, now: Form | None) -> Iterator[tuple[bool, str]]:
    if was is None or now is None:
        if now is None: yield True, "is gone"
        elif now.required and part != "answer": yield True, "is new and required"
        else: yield False, "is new"
        return
    if was.type != now.type: yield True, f"was {was.type or 'anything'}, is {now.type or 'anything'}"
    lost, more = sorted({*was.values} - {*now.values}), sorted({*now.values} - {*was.values})
    if lost: yield True, f"can no longer be {', '.join(lost)}"
    if more: yield True, f"can be {', '.join(more)}"
    if was.required == now.required: return
    if part == "answer": yield was.required, "may be missing now" if was.required else "is always there now"
    else: yield now.required, "is required now" if now.required else "may be left out now"


def openapi(old: dict[str, Any], new: dict[str, Any], names: set[str]) -> Iterator[tuple[bool, str]]:
    before, after, used = operations(old), operations(new), used_operations()
    for key in sorted(before.keys() | after.keys()):
        ours, name = key in used or ("*", key[1]) in used, f"{key[0].upper()} {key[1]}"
        if key not in after: yield ours, f"{name}: is gone"
        elif key not in before: yield False, f"{name}: is new"
        elif ours: yield from compare(name, before[key], after[key], names)


def asyncapi(old: dict[str, Any], new: dict[str, Any], names: set[str]) -> Iterator[tuple[bool, str]]:
    for channel in sorted({*old.get("channels", {}), *new.get("channels", {})}):
        if channel not in new.get("channels", {}): yield channel in CHANNELS, f"channel {channel}: is gone"
        elif channel not in old.get("channels", {}): yield False, f"channel {channel}: is new"
    before, after = messages(old), messages(new)
    for name in sorted(before.keys() | after.keys()):
        ours = name in FRAMES or "body" in before.get(name, {})
        if name not in after: yield ours, f"message {name}: is gone"
        elif name not in before: yield False, f"message {name}: is new"
        elif ours: yield from compare(f"message {name}", before[name], after[name], names)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("old", type=Path, help="OpenAPI")
    p.add_argument("new", type=Path, help="OpenAPI")
    p.add_argument("--asyncapi", nargs=2, type=Path, metavar=("OLD", "NEW"), default=())
    a = p.parse_args()
    try: specs = [yaml.load(f.read_bytes(), LOADER) for f in (a.old, a.new, *a.asyncapi)]
    except (OSError, yaml.YAMLError) as e: p.error(f"a specification can't be read: {e}")
    names = used_names()
    found = [*openapi(specs[0], specs[1], names), *(asyncapi(specs[2], specs[3], names) if a.asyncapi else ())]
    ours, others = ([text for concerns, text in found if concerns is which] for which in (True, False))
    for title, texts in (("what we use has changed", ours), ("other changes", others)):
        if texts: print(f"{title}:", *(f"  {text}" for text in texts), sep="\n")
    if not found: print("nothing has changed")
    return 1 if ours else 0


if __name__ == "__main__": sys.exit(main())
