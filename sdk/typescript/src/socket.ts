// A WebSocket of the platform: the browser's, Node's own from version 22 on, before that the one of the package `ws`.

import { type Credentials, post, reasonOf } from "./credentials.js";
import { ConnectionError, errorFrom } from "./errors.js";

const SOCKET_PATH = "/api/v1/ws";
// Longer than any reply.
const REPLY_BYTES_MAX = 512 * 1024 * 1024;
export const TOO_LARGE = 1009;

/** A socket that has been opened. */
export async function openSocket(url: string, credentials: Credentials, timeoutMs: number): Promise<WebSocket> {
  const socket = await newSocket(url, credentials);
  return new Promise((resolve, reject) => {
    let reason = "";
    const timer = setTimeout(() => {
      reason = `no connection within ${timeoutMs} ms`;
      socket.close();
      fail();
    }, timeoutMs);
    const fail = () => {
      clearTimeout(timer);
      silence(socket);
      explain(url, credentials, reason).then(reject, reject);
    };
    socket.onerror = (event) => {
      reason ||=
        (event as Event & { message?: string; error?: unknown }).message || reasonOf((event as ErrorEvent).error ?? "");
    };
    socket.onclose = fail;
    socket.onopen = () => {
      clearTimeout(timer);
      resolve(socket);
    };
  });
}

/** Have nothing more to do with a socket. */
export function silence(socket: WebSocket): void {
  socket.onopen = socket.onmessage = socket.onclose = null;
  socket.onerror = () => {}; // without a listener, `ws` would throw
}

async function newSocket(url: string, credentials: Credentials): Promise<WebSocket> {
  const address = url.replace(/^http/, "ws") + SOCKET_PATH;
  if (typeof WebSocket === "undefined") {
    const ws = await import("ws");
    const headers = await credentials.headers(url);
    return new ws.WebSocket(address, { headers, maxPayload: REPLY_BYTES_MAX, perMessageDeflate: false });
  }
  const token = await credentials.inAddress(url);
  return new WebSocket(token === undefined ? address : `${address}?token=${encodeURIComponent(token)}`);
}

/** Why there is no socket. Platforms do not tell what the server has answered, so it is asked once more. */
async function explain(url: string, credentials: Credentials, reason: string): Promise<Error> {
  const reply = await post(url, '{"command":"auth.me"}', await credentials.headers(url));
  if (reply.error !== undefined) return errorFrom(reply.error);
  return new ConnectionError(`cannot open a WebSocket at ${url}: ${reason || "no reason was told"}`, false);
}
