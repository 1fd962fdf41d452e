"""What the server says about itself over HTTP: /health, /ready, /metrics, /openapi.json and the page over it."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
from pathlib import Path

import msgspec
import orjson
from aiohttp import web

from synap.commands.dispatcher import Dispatcher
from synap.commands.table import Table
from synap.transport import openapi
from synap.transport.app import add_get, caller_of, json_response
from synap.transport.metrics import CONTENT_TYPE, Metrics
from synap.transport.overview import Overview

METRICS_PERMISSION = "admin.metrics"

_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
# Nothing on the page comes from anywhere else; Swagger UI needs inline styles and data: images.
_PAGE_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
_PAGE_HEADERS = {
    "Content-Security-Policy": _PAGE_POLICY,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}

_PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Synap API</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = b"""SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#page", deepLinking: true, docExpansion: "list", defaultModelsExpandDepth: -1,
});
"""


def add_routes(
    app: web.Application, table: Table, dispatcher: Dispatcher, metrics: Metrics, overview: Overview
) -> None:
    """Add the pages."""

    @functools.cache
    def document() -> bytes:
        return orjson.dumps(openapi.document(table))

    async def get_health(_: web.Request) -> web.Response:
        return json_response(msgspec.json.encode(overview.health()))

    async def get_ready(_: web.Request) -> web.Response:
        refusal = overview.unready()
        return json_response(
            orjson.dumps({"ready": refusal is None, "phase": overview.health().phase, "reason": refusal}),
            200 if refusal is None else 503,
        )

    async def get_metrics(request: web.Request) -> web.Response:
        dispatcher.permit(caller_of(request), METRICS_PERMISSION)
        return web.Response(body=await metrics.page(), headers={"Content-Type": CONTENT_TYPE})

    async def get_openapi(_: web.Request) -> web.Response:
        return json_response(await asyncio.to_thread(document))  # making it takes 30 ms

    add_get(app, "/health", get_health)
    add_get(app, "/ready", get_ready)
    add_get(app, "/metrics", get_metrics)
    add_get(app, "/openapi.json", get_openapi)
    _add_docs(app)


def _add_docs(app: web.Application) -> None:
    spec = importlib.util.find_spec("swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the swagger-ui-py package, which Synap depends on, is not installed")
    assets = Path(spec.submodule_search_locations[0]) / "static"

    async def get_page(_: web.Request) -> web.Response:
        return web.Response(body=_PAGE, content_type="text/html", charset="utf-8", headers=_PAGE_HEADERS)

    async def get_start(_: web.Request) -> web.Response:
        return web.Response(body=_START, content_type="text/javascript", charset="utf-8")

    async def get_asset(request: web.Request) -> web.FileResponse:
        return web.FileResponse(assets / request.path.rpartition("/")[2])

    add_get(app, "/docs", get_page)
    add_get(app, "/docs/start.js", get_start)
    for name in _ASSETS:
        add_get(app, f"/docs/{name}", get_asset)
