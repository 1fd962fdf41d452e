// `synap.queue`: the generated commands, subscriptions and workers.

import type { Push } from "./connection.js";
import {
  type QueueAckResult,
  QueueCommands,
  type QueueDelivery,
  type QueueExtendResult,
  type QueueNackResult,
  type QueueSubscribePayload,
} from "./generated/queue.js";
import { type Feeder, type SubscribeOptions, Subscription } from "./subscription.js";
import type { Caller, CallOptions, Json } from "./types.js";
import { type Handler, Worker, type WorkerOptions } from "./worker.js";

/** Makes a connection for one subscription alone. */
export type OwnFeeder = () => Feeder;

/** The commands `queue.*`. */
export class Queues extends QueueCommands {
  private readonly ownFeeder: OwnFeeder;

  constructor(caller: Caller, ownFeeder: OwnFeeder) {
    super(caller);
    this.ownFeeder = ownFeeder;
  }

  /**
   * Iterate over the messages of a queue. At most `prefetch` are with this program at a time: acknowledge each, or give
   * it back. When the connection breaks, what is not acknowledged comes again at once. What was taken can still be
   * acknowledged after `close`; what was not taken goes back. It ends when the queue is deleted.
   */
  subscribe<T = Json>(payload: QueueSubscribePayload, options: SubscribeOptions = {}): QueueSubscription<T> {
    return new QueueSubscription<T>(this.ownFeeder(), this, payload, options).start();
  }

  /**
   * Handle the messages of a queue, `concurrency` at a time. A message is acknowledged when its handler is done and
   * given back when it throws; while it runs, the lease is extended.
   */
  worker<T = Json>(queue: string, handler: Handler<T>, options: WorkerOptions = {}): Worker<T> {
    return new Worker<T>(
      (prefetch, ack_deadline) =>
        new QueueSubscription<T>(this.ownFeeder(), this, { queue, prefetch, ack_deadline }, {}).start(),
      handler,
      options,
    );
  }
}

/** A message that is this program's until it is acknowledged, given back, or `deadline` has passed. */
export class Message<T = Json> implements QueueDelivery<T> {
  declare readonly message_id: string;
  declare readonly message: T;
  declare readonly priority: number;
  declare readonly retry_count: number;
  declare readonly headers: Record<string, Json>;
  declare readonly seq: number;
  declare readonly published_at: number;
  declare readonly delivery: number;
  declare readonly deadline: number | null;
  declare readonly message_base64?: string;
  declare readonly queue: string;
  readonly #queues: QueueCommands;
  readonly #onSettled: (message: Message<T>) => void;

  constructor(
    queues: QueueCommands,
    delivery: QueueDelivery<T> & { queue: string },
    onSettled: (message: Message<T>) => void,
  ) {
    Object.assign(this, delivery);
    this.#queues = queues;
    this.#onSettled = onSettled;
  }

  /** Say that it is done with. Throws MessageNotFoundError when its lease is over. */
  ack(options?: CallOptions): Promise<QueueAckResult> {
    return this.#queues.ack(this.name, options).finally(() => this.#onSettled(this));
  }

  /** Give it back, to come again or, with `requeue` false, to be a dead letter. */
  nack(how: { requeue?: boolean; delay_secs?: number } = {}, options?: CallOptions): Promise<QueueNackResult> {
    return this.#queues.nack({ ...this.name, ...how }, options).finally(() => this.#onSettled(this));
  }

  /** Keep it for so many seconds from now. */
  extend(seconds: number, options?: CallOptions): Promise<QueueExtendResult> {
    return this.#queues.extend({ ...this.name, ack_deadline: seconds }, options);
  }

  private get name(): { queue: string; message_id: string; delivery: number } {
    return { queue: this.queue, message_id: this.message_id, delivery: this.delivery };
  }
}

/** A live subscription to a queue. */
export class QueueSubscription<T> extends Subscription<Message<T>> {
  readonly key: string;
  private readonly payload: QueueSubscribePayload;
  private readonly queues: QueueCommands;
  /** Taken, and neither acknowledged nor given back. */
  private readonly held = new Set<Message<T>>();

  constructor(feeder: Feeder, queues: QueueCommands, payload: QueueSubscribePayload, options: SubscribeOptions) {
    super(feeder, options);
    this.key = `queue:${payload.queue}`;
    this.payload = payload;
    this.queues = queues;
  }

  override request(): { command: string; payload: QueueSubscribePayload } {
    return { command: "queue.subscribe", payload: this.payload };
  }

  override farewell(): { command: string; payload: object } {
    return { command: "queue.unsubscribe", payload: { queue: this.payload.queue } };
  }

  override async next(): Promise<IteratorResult<Message<T>, undefined>> {
    const result = await super.next();
    if (!result.done) this.held.add(result.value);
    return result;
  }

  /** The connection, and with it the leases of what was taken, stays until all of that is settled. */
  protected override async release(): Promise<void> {
    this.buffer.length = 0;
    if (this.held.size === 0) await this.feeder.detach(this);
    else await this.feeder.farewell(this);
  }

  /** The server has taken back what was not acknowledged. */
  override interrupted(): void {
    this.buffer.length = 0;
    this.held.clear();
  }

  override push(push: Push): void {
    if (push.type === "end") {
      this.ended();
    } else if (push.type === "message") {
      const { type: _, ...delivery } = push as unknown as QueueDelivery<T> & { type: string; queue: string };
      this.deliver(new Message<T>(this.queues, delivery, (message) => this.settled(message)));
    }
  }

  private settled(message: Message<T>): void {
    this.held.delete(message);
    if (this.isOver && this.held.size === 0) void this.feeder.detach(this);
  }
}
