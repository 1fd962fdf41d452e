// Commands that are put together by hand and run one after the other, with nobody else's between them.

import { Call } from "./call.js";
import { errorFrom, type SynapError } from "./errors.js";
import { flagsOf } from "./flags.js";
import type { Entry } from "./frame.js";
import { Namespaces } from "./generated/namespaces.js";
import { encode } from "./json.js";
import type { Ack, Caller, CallOptions } from "./types.js";

export interface BatchOptions {
  /** One journal record: after a crash or on a replica, either all of it is there or none. */
  readonly atomic?: boolean | undefined;
}

/** What became of one command of a batch. */
export type BatchResult = { status: "success"; payload: unknown } | { status: "error"; error: SynapError };

interface Collected {
  readonly member: string;
  readonly flags: number;
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

class Collector implements Caller {
  readonly collected: Collected[] = [];
  isSent = false;

  call<R>(command: string, payload: object = {}, options: CallOptions = {}): Promise<R> {
    if (this.isSent) throw new Error("this batch was sent already; make another one");
    const key = options.idempotencyKey;
    const keyed = key === undefined ? "" : `,"idempotency_key":${encode(key)}`;
    const member = `{"command":${encode(command)},"payload":${encode(payload)}${keyed}}`;
    const result = new Promise<R>((resolve, reject) => {
      const collected = { member, flags: flagsOf(command), resolve: resolve as (result: unknown) => void, reject };
      this.collected.push(collected);
    });
    result.catch(() => {}); // `send` tells it as well
    return result;
  }
}

/** A batch: call its commands as a client's, then `send`. Their promises are settled by `send`: await them after it. */
export class Batch extends Namespaces implements Caller {
  private readonly collector: Collector;
  private readonly perform: (call: Call, options: CallOptions) => Promise<Entry[]>;
  private readonly isAtomic: boolean;
  private readonly defaultAck: Ack | undefined;

  constructor(
    perform: (call: Call, options: CallOptions) => Promise<Entry[]>,
    options: BatchOptions,
    defaultAck: Ack | undefined,
  ) {
    const collector = new Collector();
    super(collector);
    this.collector = collector;
    this.perform = perform;
    this.defaultAck = defaultAck;
    this.isAtomic = options.atomic ?? false;
  }

  /** Commands that have been put in. */
  get length(): number {
    return this.collector.collected.length;
  }

  /** Put in any command by its name. Of the options, only the idempotency key counts here. */
  call<R>(command: string, payload: object = {}, options: CallOptions = {}): Promise<R> {
    return this.collector.call<R>(command, payload, options);
  }

  /** Run them. The results come in order; a command that fails does not stop the others. Throws when none has run. */
  async send(options: CallOptions = {}): Promise<BatchResult[]> {
    const { collected } = this.collector;
    this.collector.isSent = true;
    const flags = collected.reduce((all, { flags }) => all | flags, 0);
    const members = collected.map(({ member }) => member).join(",");
    const envelope = `"type":"batch","commands":[${members}]${this.isAtomic ? ',"atomic":true' : ""}`;
    try {
      const given = { ...options, ack: options.ack ?? this.defaultAck };
      const entries = await this.perform(new Call("batch", flags, envelope, true, given), options);
      return entries.map((entry, index) => {
        const result = resultOf(entry);
        if (result.status === "success") collected[index]?.resolve(result.payload);
        else collected[index]?.reject(result.error);
        return result;
      });
    } catch (error) {
      for (const { reject } of collected) reject(error);
      throw error;
    }
  }
}

function resultOf({ error, payload }: Entry): BatchResult {
  return error === undefined ? { status: "success", payload } : { status: "error", error: errorFrom(error) };
}
