// `synap.pubsub`: the generated commands and live subscriptions.

import type { Push } from "./connection.js";
import { PubsubCommands, type PubsubSubscribePayload, type PubsubSubscribeResult } from "./generated/pubsub.js";
import { type Feeder, type SubscribeOptions, Subscription, warnOfGap } from "./subscription.js";
import type { Caller, Json } from "./types.js";

// Past so many messages that nobody has taken, the oldest are dropped, and a gap tells of them.
const BUFFER_MESSAGES_MAX = 10_000;

/** A message that was published to a topic. */
export interface TopicMessage<T = Json> {
  topic: string;
  /** What was subscribed to. */
  pattern: string;
  message: T;
  metadata: Record<string, Json> | null;
  message_id: string;
  seq: number;
  /** Unix milliseconds. */
  timestamp: number;
}

/** Messages that will not come any more. */
export interface TopicGap {
  /** Null when they are of several topics. */
  readonly topic: string | null;
  /** Null when nobody knows, because the server has started anew. */
  readonly missed: number | null;
  readonly reason: "slow" | "history" | "restart";
}

export interface PubsubSubscribeOptions extends SubscribeOptions {
  /** Called where messages are missing; without it, a warning is printed. */
  readonly onGap?: ((gap: TopicGap) => void) | undefined;
}

/** The commands `pubsub.*`. */
export class PubSub extends PubsubCommands {
  private readonly feeder: Feeder;

  constructor(caller: Caller, feeder: Feeder) {
    super(caller);
    this.feeder = feeder;
  }

  /**
   * Iterate over the messages of some topics; `*` is one level of a topic, `#` any number of them. After a broken
   * connection the server sends again what it still has, and what it has not is told as a gap.
   */
  subscribe<T = Json>(payload: PubsubSubscribePayload, options: PubsubSubscribeOptions = {}): TopicSubscription<T> {
    return new TopicSubscription<T>(this.feeder, payload, options).start();
  }
}

/** A live subscription to topics. */
export class TopicSubscription<T> extends Subscription<TopicMessage<T>> {
  readonly key = "pubsub";
  private readonly payload: PubsubSubscribePayload;
  private readonly onGap: (gap: TopicGap) => void;
  /** Since a message was taken. */
  private dropped = 0;
  private seen: { epoch: string; last_seq: number } | null = null;

  constructor(feeder: Feeder, payload: PubsubSubscribePayload, options: PubsubSubscribeOptions) {
    super(feeder, options);
    this.payload = payload;
    this.onGap = options.onGap ?? warnOfGap;
  }

  override request(): { command: string; payload: PubsubSubscribePayload } {
    return { command: "pubsub.subscribe", payload: { ...this.payload, ...this.seen } };
  }

  override farewell(): { command: string; payload: object } {
    return { command: "pubsub.unsubscribe", payload: {} };
  }

  override begun(result: unknown): void {
    const { epoch, seq, gap } = result as PubsubSubscribeResult;
    // What is sent again has not come yet: only a new epoch counts from here.
    if (this.seen?.epoch !== epoch) this.seen = { epoch, last_seq: seq };
    super.begun(result);
    if (gap !== null) this.tell(() => this.onGap({ topic: null, missed: gap.missed, reason: gap.reason }));
  }

  override push(push: Push): void {
    if (push.type === "gap") {
      const gap = { topic: push["topic"] as string | null, missed: push["missed"] as number, reason: "slow" as const };
      this.tell(() => this.onGap(gap));
      return;
    }
    if (push.type !== "message") return;
    const { type: _, ...message } = push as unknown as TopicMessage<T> & { type: string };
    if (this.seen !== null) this.seen.last_seq = message.seq;
    if (this.buffer.length >= BUFFER_MESSAGES_MAX) {
      this.buffer.shift();
      this.dropped++;
    }
    this.deliver(message);
  }

  protected override taken(): void {
    const missed = this.dropped;
    this.dropped = 0;
    if (missed > 0) this.tell(() => this.onGap({ topic: null, missed, reason: "slow" }));
  }
}
