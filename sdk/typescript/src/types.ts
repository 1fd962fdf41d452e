// What the rest of the kit speaks of: JSON, the options of a call, and whoever makes calls.

/** What a server answers. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** What can be stored: whatever `JSON.stringify` takes, and bigints, which are written as JSON numbers. */
export type JsonInput = null | boolean | number | bigint | string | object;

/** How far a write must be before its reply: in the journal file, on the disk, or on (so many) replicas. */
export type Ack = "written" | "synced" | "replicated" | `replicated:${number}`;

/** What a server says about a write beside its result. */
export interface Reached {
  /** How far it was when the reply left. */
  readonly ack: string;
  /** Its place in the journal, or that of a later write in the same frame. */
  readonly lsn: number;
}

/** What any call may be given. */
export interface CallOptions {
  /** Gives the call up. What was sent already may happen all the same. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds, retries included; 0 waits for ever. A command's own `timeout` comes on top. */
  readonly timeoutMs?: number | undefined;
  /** 1 to 255 characters. The same write under the same key happens once in 24 hours, so that it can be repeated. */
  readonly idempotencyKey?: string | undefined;
  readonly ack?: Ack | undefined;
  /** Called for a write, before its promise is fulfilled. */
  readonly onReached?: ((reached: Reached) => void) | undefined;
}

/** Makes calls: a client or a batch. */
export interface Caller {
  call<R>(command: string, payload?: object, options?: CallOptions): Promise<R>;
}
