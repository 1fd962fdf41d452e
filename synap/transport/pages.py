"""What the server says about itself over HTTP: /health, /ready, /metrics, /openapi.json and the page over it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import orjson
from aiohttp import web

from synap import __version__
from synap.commands.table import Table
from synap.transport import openapi
from synap.transport.app import json_response
from synap.transport.metrics import CONTENT_TYPE, Metrics

_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
# Nothing on the page comes from anywhere else; Swagger UI needs inline styles and data: images.
_PAGE_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"

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


def add_routes(app: web.Application, table: Table, metrics: Metrics, health: Callable[[], dict[str, object]]) -> None:
    """Add the pages. `health` gives what /health answers; its `status` decides /ready."""
    document = orjson.dumps(openapi.document(table))

    async def get_health(_: web.Request) -> web.Response:
        return json_response(orjson.dumps(health()))

    async def get_ready(_: web.Request) -> web.Response:
        state = health()
        ready = state["phase"] == "serving"
        return json_response(orjson.dumps({"ready": ready, "phase": state["phase"]}), 200 if ready else 503)

    async def get_metrics(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def get_openapi(_: web.Request) -> web.Response:
        return json_response(document)

    app.router.add_get("/health", get_health)
    app.router.add_get("/ready", get_ready)
    app.router.add_get("/metrics", get_metrics)
    app.router.add_get("/openapi.json", get_openapi)
    _add_docs(app)


def health_report(phase: str, role: str, uptime_secs: int, components: dict[str, str]) -> dict[str, object]:
    """The body of /health."""
    degraded = any(state != "operational" for state in components.values())
    return {
        "status": "degraded" if degraded else "healthy",
        "version": __version__,
        "role": role,
        "uptime_secs": uptime_secs,
        "phase": phase,
        "components": components,
    }


def _add_docs(app: web.Application) -> None:
    spec = importlib.util.find_spec("swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the swagger-ui-py package, which Synap depends on, is not installed")
    assets = Path(spec.submodule_search_locations[0]) / "static"

    async def get_page(_: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": _PAGE_POLICY, "X-Content-Type-Options": "nosniff"}
        return web.Response(body=_PAGE, content_type="text/html", charset="utf-8", headers=headers)

    async def get_start(_: web.Request) -> web.Response:
        return web.Response(body=_START, content_type="text/javascript", charset="utf-8")

    async def get_asset(request: web.Request) -> web.FileResponse:
        return web.FileResponse(assets / request.path.rpartition("/")[2])

    app.router.add_get("/docs", get_page)
    app.router.add_get("/docs/start.js", get_start)
    for name in _ASSETS:
        app.router.add_get(f"/docs/{name}", get_asset)
