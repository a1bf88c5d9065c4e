"""The OpenAPI description as one page without scripts or foreign assets."""

import base64
import hashlib
import html
from typing import Any

from starlette.responses import HTMLResponse

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "code,pre{font-family:ui-monospace,monospace}pre{overflow:auto}section{border-top:1px solid;margin-top:1rem}"
    "td{padding:.1rem 1rem .1rem 0;vertical-align:top}"
)


def docs_page(schema: dict[str, Any]) -> HTMLResponse:
    """The OpenAPI description as one page without scripts or foreign assets."""
    parts = [f"<h1>{html.escape(schema['info']['title'])} {html.escape(schema['info']['version'])}</h1>"]
    parts.append(f"<p>{html.escape(schema['info']['description'])} <a href='openapi.json'>openapi.json</a></p>")
    for path, methods in schema["paths"].items():
        parts += [_section(path, method, operation, schema) for method, operation in methods.items()]
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; base-uri 'none'"
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>sfv serve</title><style>{STYLE}</style>"
    return HTMLResponse(page + "".join(parts), headers={"content-security-policy": policy})


def _section(path: str, method: str, operation: dict[str, Any], schema: dict[str, Any]) -> str:
    rows = [(p["name"], p["schema"], p.get("description", "")) for p in operation.get("parameters", ())]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        rows += [(n, s, s.get("description", "")) for n, s in content["schema"]["properties"].items()]
    table = "".join(f"<tr><td><code>{html.escape(n)}</code><td>{_kind(s)}<td>{html.escape(d)}" for n, s, d in rows)
    codes = ", ".join(f"{code} {html.escape(r['description'])}" for code, r in operation["responses"].items())
    about = html.escape(operation.get("description", operation.get("summary", "")))
    head = f"<section><h2><code>{method.upper()} {html.escape(path)}</code></h2><p>{about}"
    return f"{head}<table>{table}</table><p>Answers: {codes}</section>"


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return html.escape(" | ".join(map(str, schema["enum"])))
    bounds = [f"{k} {schema[k]}" for k in ("minimum", "maximum") if k in schema]
    return html.escape(" ".join([str(schema.get("format", schema.get("type", ""))), *bounds]))
