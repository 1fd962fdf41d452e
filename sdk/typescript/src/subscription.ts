// What all subscriptions have in common: a buffer between the connection and whoever iterates.

import type { Push } from "./connection.js";
import { ConnectionError } from "./errors.js";
import type { Feed } from "./socket-link.js";

/** Where subscriptions find a connection. */
export interface Feeder {
  /** Milliseconds within which a subscription must begin; 0 for no limit. */
  readonly timeoutMs: number;
  /** Why there is no connection for it. */
  trouble(feed: Feed): Error | null;
  attach(feed: Feed): void;
  detach(feed: Feed): Promise<void>;
  farewell(feed: Feed): Promise<void>;
  resume(feed: Feed): void;
}

/** What every subscription may be given. */
export interface SubscribeOptions {
  /** Ends it; the iteration throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

interface Waiter<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: unknown): void;
}

/**
 * A subscription to iterate over with `for await`. It begins when it is made and goes on through broken connections.
 * Leaving the loop ends it, and so does `close`.
 */
export abstract class Subscription<T> implements Feed, AsyncIterableIterator<T, undefined> {
  abstract readonly key: string;
  /** Fulfilled once the server has begun to send; nothing published after that is missed. */
  readonly ready: Promise<void>;
  isOver = false;
  hasBegun = false;
  protected readonly buffer: T[] = [];
  protected readonly feeder: Feeder;
  private readonly waiters: Waiter<T>[] = [];
  private failure: { error: unknown } | null = null;
  private readonly signal: AbortSignal | undefined;
  private readonly onAbort = () => this.fail(this.signal?.reason);
  private timer: ReturnType<typeof setTimeout> | undefined;
  private setReady: () => void = () => {};
  private setFailed: (error: unknown) => void = () => {};

  constructor(feeder: Feeder, options: SubscribeOptions) {
    this.feeder = feeder;
    this.signal = options.signal;
    this.ready = new Promise((resolve, reject) => {
      this.setReady = resolve;
      this.setFailed = reject;
    });
    this.ready.catch(() => {}); // the iteration tells it as well
  }

  abstract request(): { command: string; payload: object };
  abstract farewell(): { command: string; payload: object };
  abstract push(push: Push): void;

  /** Begin; called once by whoever makes it. */
  start(): this {
    if (this.signal?.aborted) {
      this.fail(this.signal.reason);
    } else {
      this.signal?.addEventListener("abort", this.onAbort, { once: true });
      this.feeder.attach(this);
      const { timeoutMs } = this.feeder;
      if (timeoutMs > 0) this.timer = setTimeout(() => this.giveUp(timeoutMs), timeoutMs);
    }
    return this;
  }

  begun(_result: unknown): void {
    this.hasBegun = true;
    clearTimeout(this.timer);
    this.setReady();
  }

  interrupted(): void {}

  /** End it with an error, which the iteration throws behind what has come already. */
  fail(error: unknown): void {
    if (this.isOver) return;
    this.failure = { error };
    this.end();
    void this.release();
  }

  /** End it. What has come already can still be iterated over. */
  async close(): Promise<void> {
    this.end();
    await this.release();
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    const value = this.buffer.shift();
    if (value !== undefined) {
      this.taken();
      return { done: false, value };
    }
    if (this.failure !== null) {
      const { error } = this.failure;
      this.failure = null;
      throw error;
    }
    if (this.isOver) return { done: true, value: undefined };
    return new Promise((resolve, reject) => this.waiters.push({ resolve, reject }));
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.buffer.length = 0;
    await this.close();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Hand something on. */
  protected deliver(value: T): void {
    const waiter = this.waiters.shift();
    if (waiter !== undefined) waiter.resolve({ done: false, value });
    else this.buffer.push(value);
  }

  /** Something was taken out of the buffer. */
  protected taken(): void {}

  /** The server has ended it. */
  protected ended(): void {
    this.end();
    void this.release();
  }

  /** Have the server push nothing more. */
  protected release(): Promise<void> {
    return this.feeder.detach(this);
  }

  /** Tell of something; when that throws, the subscription fails with it. */
  protected tell(how: () => void): void {
    try {
      how();
    } catch (error) {
      this.fail(error);
    }
  }

  private giveUp(timeoutMs: number): void {
    const trouble = this.feeder.trouble(this);
    const why = trouble?.message ?? "the server has not answered";
    this.fail(new ConnectionError(`${this.key}: ${why} (tried for ${timeoutMs} ms)`, false, trouble));
  }

  /** Nothing more will come. */
  protected end(): void {
    if (this.isOver) return;
    this.isOver = true;
    clearTimeout(this.timer);
    this.signal?.removeEventListener("abort", this.onAbort);
    this.setFailed(this.failure?.error ?? new ConnectionError("the subscription has ended", false));
    for (const { resolve, reject } of this.waiters.splice(0)) {
      if (this.failure === null) {
        resolve({ done: true, value: undefined });
      } else {
        reject(this.failure.error);
        this.failure = null;
      }
    }
  }
}

/** What is told of gaps when nobody asked for it. */
export function warnOfGap(gap: object): void {
  console.warn("synap: a subscription has missed something:", gap);
}
