// One open WebSocket: frames out, replies and pushes in, until it breaks.

import type { Call } from "./call.js";
import { PayloadTooLargeError } from "./errors.js";
import { type Frame, isReply, type Reply } from "./frame.js";
import { decode } from "./json.js";
import { silence, TOO_LARGE } from "./socket.js";

// Its reply is like none that anybody waits for.
const HEARTBEAT = '{"command":"auth.me","request_id":"heartbeat"}';

/** Something that the server sends without being asked just now. */
export interface Push {
  readonly type: string;
  readonly [field: string]: unknown;
}

export interface ConnectionEvents {
  onPush(push: Push): void;
  onLost(): void;
  /** Whether somebody would notice a server that says nothing. */
  isInUse(): boolean;
}

/** A socket and what waits for its replies. */
export class Connection {
  private readonly socket: WebSocket;
  private readonly events: ConnectionEvents;
  private readonly bigints: boolean;
  private readonly pending = new Map<string, { frame: Frame; length: number }>();
  private readonly heartbeat: ReturnType<typeof setInterval>;
  private requests = 0;
  private wasHeard = true;
  private isRetired = false;

  constructor(socket: WebSocket, bigints: boolean, heartbeatMs: number, events: ConnectionEvents) {
    this.socket = socket;
    this.bigints = bigints;
    this.events = events;
    this.heartbeat = setInterval(() => this.beat(), heartbeatMs);
    socket.onmessage = (event) => this.receive(event.data as string);
    socket.onclose = ({ code, reason }) => this.lost(code, reason || `the connection broke (${code})`);
    socket.onerror = () => {}; // a close follows
  }

  send(frame: Frame): void {
    const requestId = String(++this.requests);
    const text = frame.text(requestId);
    this.pending.set(requestId, { frame, length: text.length });
    this.socket.send(text);
  }

  /** The result of a call that belongs to this connection and to no other. */
  request(call: Call, frame: Frame): Promise<unknown> {
    return call.attempt(() => this.send(frame));
  }

  /** Take nothing more; close once everything has been answered. */
  retire(): void {
    this.isRetired = true;
    if (this.pending.size === 0) this.lost(1000, "closed");
  }

  /** Close without waiting for the other side, which may be gone. */
  drop(why: string): void {
    this.lost(1000, why);
  }

  private receive(text: string): void {
    this.wasHeard = true;
    const message = decode(text, this.bigints) as Push | Reply;
    if (!isReply(message)) {
      if (!this.isRetired) this.events.onPush(message);
      return;
    }
    const waiting = this.pending.get(message.request_id);
    this.pending.delete(message.request_id);
    waiting?.frame.settle(message);
    if (this.isRetired && this.pending.size === 0) this.lost(1000, "closed");
  }

  private beat(): void {
    if (this.pending.size === 0 && !this.events.isInUse()) {
      this.wasHeard = true;
    } else if (!this.wasHeard) {
      this.drop("the server has not answered for a while");
    } else {
      this.wasHeard = false;
      this.socket.send(HEARTBEAT);
    }
  }

  private lost(code: number, why: string): void {
    clearInterval(this.heartbeat);
    silence(this.socket);
    this.socket.close();
    const frames = [...this.pending.values()];
    this.pending.clear();
    if (code === TOO_LARGE) failLargest(frames);
    for (const { frame } of frames) frame.lose(why, undefined);
    this.events.onLost();
  }
}

/** The server reads nothing of a frame that is too large: nothing of it has happened. */
function failLargest(frames: { frame: Frame; length: number }[]): void {
  frames.sort((a, b) => a.length - b.length);
  const largest = frames.pop();
  largest?.frame.fail(
    new PayloadTooLargeError(`the request has ${largest.length} characters, more than the server takes`),
  );
}
