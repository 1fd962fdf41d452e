import { existsSync, readFileSync } from "node:fs";
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Synap } from "../src/index.js";
import { PACKAGE, Server } from "./server.js";

const CHROMIUM = process.env["SYNAP_CHROMIUM"] ?? "/usr/bin/chromium";

const PAGE = `<!doctype html>
<title>Synap in a page</title>
<pre id="outcome"></pre>
<script type="module">
import { KeyNotFoundError, Synap } from "/dist/esm/index.js";

const [url, apiKey] = decodeURIComponent(location.hash.slice(1)).split(" ");
const told = [];
for (const transport of ["websocket", "http"]) {
  const synap = new Synap({ url, apiKey, transport, bigints: true });
  await synap.kv.set({ key: "page", value: { big: 2n ** 60n } });
  told.push(String((await synap.kv.get({ key: "page" })).value.big));
  const error = await synap.key.rename({ source: "a", destination: "b" }).catch((error) => error);
  told.push(error instanceof KeyNotFoundError);
  await synap.close();
}
const synap = new Synap({ url, apiKey });
const events = synap.stream.subscribe({ room: "page", create: true });
await events.ready;
await synap.stream.publish({ room: "page", event_type: "greeting", data: "hello" });
for await (const { data } of events) {
  told.push(data);
  break;
}
const stranger = new Synap({ url, apiKey: "synap_wrong" });
told.push((await stranger.kv.get({ key: "page" }).catch((error) => error)).code);
document.getElementById("outcome").textContent = told.join(" ");
document.body.dataset.done = "yes";
</script>`;

/** Serves the page and the built modules. */
async function serve(): Promise<HttpServer> {
  const pages = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://page").pathname;
    if (path === "/") {
      response.setHeader("Content-Type", "text/html").end(PAGE);
    } else if (path.startsWith("/dist/esm/")) {
      response.setHeader("Content-Type", "text/javascript").end(readFileSync(join(PACKAGE, path)));
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve) => pages.listen(0, "127.0.0.1", resolve));
  return pages;
}

describe.skipIf(!existsSync(CHROMIUM) && !process.env["CI"])("in a browser", () => {
  let pages: HttpServer;
  let server: Server;
  let browser: Browser;
  let origin: string;

  beforeAll(async () => {
    pages = await serve();
    origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;
    const auth = `[auth]\nenabled = true\nroot_password = "correct horse"\njwt_secret = "${"s".repeat(32)}"`;
    server = await Server.start({ config: `[server]\ncors_origins = ["${origin}"]\n${auth}\n` });
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  });

  afterAll(async () => {
    await browser?.close();
    await server?.stop();
    pages?.close();
  });

  test("a page sets, gets, subscribes and is told what it may not", async () => {
    const root = new Synap({ url: server.url, username: "root", password: "correct horse" });
    const { key } = await root.auth.create_key({ name: "page", permissions: ["kv.*:page", "key.*", "stream.*:page"] });
    await root.close();
    const page = await browser.newPage();
    const faults: string[] = [];
    page.on("pageerror", (error) => faults.push(error.message));
    await page.goto(`${origin}/#${encodeURIComponent(`${server.url} ${key}`)}`);
    await page.waitForSelector("body[data-done]", { timeout: 20_000 }).catch((error) => faults.push(String(error)));
    const big = String(2n ** 60n);
    expect(faults).toEqual([]);
    expect(await page.textContent("#outcome")).toBe(`${big} true ${big} true hello UNAUTHORIZED`);
  });
});
