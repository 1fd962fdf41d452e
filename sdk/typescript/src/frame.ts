// What goes over the wire: one call, or the calls of one moment put together into a batch.

import type { Call } from "./call.js";
import { ConnectionError, errorFrom, type Failure } from "./errors.js";
import { isBatchable, isRead } from "./flags.js";
import { encode } from "./json.js";
import type { Reached } from "./types.js";

// Far below what a server takes, so that one frame does not keep others waiting for long.
const COMMANDS_MAX = 1_000;
const CHARS_MAX = 1 << 20;

/** A reply, and what its parts look like. */
export interface Reply {
  readonly type: "response" | "batch_response";
  readonly request_id: string;
  readonly status?: "success" | "error";
  readonly payload?: unknown;
  readonly error?: Failure;
  readonly results?: readonly Entry[];
  readonly ack?: string;
  readonly lsn?: number;
}

/** The result of one command of a batch. */
export interface Entry {
  readonly status: "success" | "error";
  readonly payload?: unknown;
  readonly error?: Failure;
}

/** Calls that are sent together, each with a result of its own. */
export class Frame {
  readonly calls: readonly Call[];

  constructor(calls: readonly Call[]) {
    this.calls = calls;
  }

  /** The envelope. From now on its calls may have happened, those that only look excepted. */
  text(requestId: string): string {
    for (const call of this.calls) call.maybeDone ||= !isRead(call.flags);
    const [first] = this.calls as [Call];
    const ack = first.ack === undefined ? "" : `,"ack":${encode(first.ack)}`;
    const members =
      this.calls.length === 1
        ? first.members
        : `"type":"batch","commands":[${this.calls.map((call) => `{${call.members}}`).join(",")}]`;
    return `{${members}${ack},"request_id":"${requestId}"}`;
  }

  /** Hand a reply on to the calls. */
  settle(reply: Reply): void {
    const reached = reachedOf(reply);
    if (reply.error !== undefined) {
      this.fail(errorFrom(reply.error));
    } else if (this.calls.length > 1) {
      this.calls.forEach((call, index) => {
        const entry = reply.results?.[index];
        if (entry?.error !== undefined) call.fail(errorFrom(entry.error));
        else call.succeed(entry?.payload, reached);
      });
    } else {
      this.calls[0]?.succeed(reply.results ?? reply.payload, reached);
    }
  }

  /** What kept all of it from happening. */
  fail(error: Error): void {
    for (const call of this.calls) call.fail(error);
  }

  /** The connection broke: what may be repeated can be sent again, of the rest nobody knows. */
  lose(why: string, cause: unknown): void {
    for (const call of this.calls) call.fail(new ConnectionError(`${call.name}: ${why}`, call.maybeDone, cause));
  }
}

/** The frames for some calls, in their order. */
export function* framesOf(calls: readonly Call[]): Iterable<Frame> {
  let together: Call[] = [];
  let chars = 0;
  for (const call of calls) {
    const joins = !call.isBatch && isBatchable(call.flags);
    const isFull = together.length >= COMMANDS_MAX || chars + call.members.length > CHARS_MAX;
    // A batch has one ack: the strongest of its commands would hold up the others.
    if (together.length > 0 && (!joins || isFull || together[0]?.ack !== call.ack)) {
      yield new Frame(together);
      together = [];
      chars = 0;
    }
    if (joins) {
      together.push(call);
      chars += call.members.length;
    } else {
      yield new Frame([call]);
    }
  }
  if (together.length > 0) yield new Frame(together);
}

/** What a text is that should be a reply. */
export function isReply(message: object): message is Reply {
  const type = (message as { type?: unknown }).type;
  return type === "response" || type === "batch_response";
}

function reachedOf({ ack, lsn }: Reply): Reached | null {
  return ack === undefined || lsn === undefined ? null : { ack, lsn };
}
