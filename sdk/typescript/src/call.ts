// One call on its way, whatever it takes: attempts, a deadline, somebody who gives it up.

import { ConnectionError, TimeoutError } from "./errors.js";
import { flagsOf, isRead, takesKey, WAITS } from "./flags.js";
import { encode } from "./json.js";
import type { CallOptions, Reached } from "./types.js";

/** A request: one command, or a batch that was put together by hand. */
export class Call {
  /** What it is called in messages. */
  readonly name: string;
  readonly flags: number;
  /** The members of its envelope, without the braces, the id and the ack. */
  readonly members: string;
  readonly isBatch: boolean;
  readonly isRepeatable: boolean;
  readonly ack: string | undefined;
  /** Sent by some attempt that nobody has answered. */
  maybeDone = false;
  private wasLost = false;
  /** It has its result, or nobody waits for it any more. */
  isOver = false;
  /** Why there is no connection for it, as far as it is known. */
  trouble: Error | null = null;
  /** Called when it is given up. */
  onEnd: () => void = ignore;
  private readonly options: CallOptions;
  /** Called with the result before anything else that the server has sent is looked at. */
  onResult: (result: unknown) => void = ignore;
  private lastError: unknown;
  private resolve: (value: unknown) => void = ignore;
  private reject: (error: unknown) => void = ignore;

  constructor(name: string, flags: number, members: string, isBatch: boolean, options: CallOptions) {
    const key = options.idempotencyKey;
    this.name = name;
    this.flags = flags;
    this.isBatch = isBatch;
    this.members = key === undefined ? members : `${members},"idempotency_key":${encode(key)}`;
    this.isRepeatable = isRead(flags) || (key !== undefined && takesKey(flags));
    this.ack = options.ack;
    this.options = options;
  }

  /** Make attempts until one has a result. `attempt` starts one; `pause` says how long to rest after a failure. */
  async run<R>(
    timeoutMs: number,
    attempt: () => Promise<unknown>,
    pause: (error: unknown, attempts: number) => number | null,
  ): Promise<R> {
    const { signal } = this.options;
    signal?.throwIfAborted();
    const onAbort = () => this.end(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    const deadline = timeoutMs > 0 ? performance.now() + timeoutMs : Number.POSITIVE_INFINITY;
    const timer = timeoutMs > 0 ? setTimeout(() => this.end(this.late(timeoutMs)), timeoutMs) : undefined;
    try {
      for (let attempts = 1; ; attempts++) {
        try {
          return (await attempt()) as R;
        } catch (error) {
          const ms = this.isOver ? null : pause(error, attempts);
          if (ms === null || performance.now() + ms >= deadline) throw error;
          this.lastError = error;
          await this.rest(ms);
        }
      }
    } finally {
      this.isOver = true;
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** The promise of one attempt; whoever takes it on settles it with `succeed` or `fail`. */
  attempt(take: () => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
      take();
    });
  }

  succeed(result: unknown, reached: Reached | null): void {
    if (this.isOver) return;
    try {
      if (reached !== null) this.options.onReached?.(reached);
      this.onResult(result);
      this.resolve(result);
    } catch (error) {
      this.reject(error); // what a callback has thrown is no other call's concern
    }
  }

  /** This attempt failed. A refusal means that nothing has happened. */
  fail(error: unknown): void {
    if (error instanceof ConnectionError) this.wasLost ||= error.maybeDone;
    else this.maybeDone = this.wasLost; // an earlier attempt may have come through all the same
    this.reject(error);
  }

  private end(error: unknown): void {
    this.isOver = true;
    this.reject(error);
    this.onEnd();
  }

  private rest(ms: number): Promise<unknown> {
    return this.attempt(() => setTimeout(this.resolve, ms));
  }

  private late(timeoutMs: number): Error {
    if (this.trouble !== null && !this.maybeDone) {
      return new ConnectionError(
        `${this.name}: ${this.trouble.message} (tried for ${timeoutMs} ms)`,
        false,
        this.trouble,
      );
    }
    return new TimeoutError(`${this.name}: no answer within ${timeoutMs} ms`, this.maybeDone, this.lastError);
  }
}

/** A call of one command. */
export function commandCall(command: string, payload: object, options: CallOptions): Call {
  const members = `"command":${encode(command)},"payload":${encode(payload)}`;
  return new Call(command, flagsOf(command), members, false, options);
}

/** Milliseconds that a command may wait on the server for something to come. */
export function waitMs(command: string, payload: { timeout?: unknown }): number {
  if ((flagsOf(command) & WAITS) === 0) return 0;
  const timeout = Number(payload.timeout ?? 0);
  const isForEver = timeout === 0 && /^(list|sortedset)\./.test(command);
  return isForEver ? Number.POSITIVE_INFINITY : timeout * 1000;
}

function ignore(): void {}
