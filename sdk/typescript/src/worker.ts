// Handles the messages of a queue: some at a time, leases extended, failures given back, drained at the end.

import { MessageNotFoundError } from "./errors.js";
import type { Message, QueueSubscription } from "./queue.js";
import type { Json } from "./types.js";

const ACK_DEADLINE_SECS = 30;
// Of a lease, how much may pass before it is extended.
const EXTEND_AFTER = 1 / 3;

/** What to do with a message. `signal` is aborted when the message is not this worker's any longer. */
export type Handler<T = Json> = (message: Message<T>, context: { signal: AbortSignal }) => unknown;

export interface WorkerOptions {
  /** Messages handled at the same time; 1 unless said otherwise. */
  readonly concurrency?: number | undefined;
  /** Seconds of a lease, which is extended for as long as the handler runs: how long a dead worker holds up a message. */
  readonly ackDeadlineSecs?: number | undefined;
  /** Called with what a handler has thrown, and with what went wrong around it. Without it, it is printed. */
  readonly onError?: ((error: unknown, message: Message<unknown>) => void) | undefined;
  /** Stops the worker as `stop` does. */
  readonly signal?: AbortSignal | undefined;
}

/** A worker; it has begun when it is made. */
export class Worker<T = Json> {
  /** Fulfilled once the server sends messages. */
  readonly ready: Promise<void>;
  /** Fulfilled when it has stopped; rejected when it cannot go on. */
  readonly done: Promise<void>;
  private readonly subscription: QueueSubscription<T>;
  private readonly handler: Handler<T>;
  private readonly concurrency: number;
  private readonly leaseSecs: number;
  private readonly onError: (error: unknown, message: Message<unknown>) => void;
  private readonly running = new Set<Promise<void>>();

  constructor(
    subscribe: (prefetch: number, ackDeadlineSecs: number) => QueueSubscription<T>,
    handler: Handler<T>,
    options: WorkerOptions,
  ) {
    this.handler = handler;
    this.leaseSecs = options.ackDeadlineSecs ?? ACK_DEADLINE_SECS;
    this.onError = options.onError ?? ((error) => console.error("synap: a message was given back:", error));
    this.concurrency = options.concurrency ?? 1;
    this.subscription = subscribe(this.concurrency, this.leaseSecs);
    this.ready = this.subscription.ready;
    this.done = this.work();
    this.done.catch(() => {}); // whoever awaits it is told
    const stop = () => void this.stop().catch(() => {});
    options.signal?.addEventListener("abort", stop, { once: true });
    if (options.signal?.aborted) stop();
  }

  /** Take no more messages, and wait for the handlers that run. What has come and not begun goes back at once. */
  async stop(): Promise<void> {
    await this.subscription.close();
    await this.done;
  }

  private async work(): Promise<void> {
    try {
      for (;;) {
        // After a broken connection messages may come again while their first handlers still run.
        while (this.running.size >= this.concurrency) await Promise.race(this.running);
        const { done, value } = await this.subscription.next();
        if (done) break;
        const handled = this.handle(value).finally(() => this.running.delete(handled));
        this.running.add(handled);
      }
    } finally {
      await Promise.all(this.running);
      await this.subscription.close();
    }
  }

  private async handle(message: Message<T>): Promise<void> {
    const lease = new AbortController();
    const timer = setInterval(() => this.extend(message, lease), this.leaseSecs * EXTEND_AFTER * 1000);
    try {
      try {
        await this.handler(message, { signal: lease.signal });
      } catch (error) {
        this.onError(error, message as Message<unknown>);
        await message.nack();
        return;
      }
      await message.ack();
    } catch (error) {
      this.onError(error, message as Message<unknown>);
    } finally {
      clearInterval(timer);
    }
  }

  private extend(message: Message<T>, lease: AbortController): void {
    message.extend(this.leaseSecs).catch((error) => {
      if (error instanceof MessageNotFoundError) lease.abort(error);
      // Anything else may be over the next time, before the lease is.
    });
  }
}
