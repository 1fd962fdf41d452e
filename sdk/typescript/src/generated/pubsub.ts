// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller, JsonInput } from "../types.js";

/**
 * Payload of pubsub.publish. A topic is levels with dots between them, 1,024 bytes at most.
 *
 * `payload` and `data` are other names of `message`.
 */
export interface PubsubPublishPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly topic: string;
  readonly message?: JsonInput | undefined;
  readonly payload?: JsonInput | undefined;
  readonly data?: JsonInput | undefined;
  readonly metadata?: { readonly [name: string]: JsonInput } | null | undefined;
}

/**
 * Payload of pubsub.subscribe. In a pattern, `*` is one level and `#` any number of them.
 *
 * A connection has 10,000 patterns at most; one with wildcards can stand for many. `policy` says what to do when this
 * client reads too slowly. Whoever was here before names the `epoch` and the `last_seq` it has seen, and gets what it
 * missed.
 */
export interface PubsubSubscribePayload {
  /** at least 1 of them; at most 10000 of them */
  readonly topics: readonly string[];
  readonly policy?: "disconnect" | "drop_newest" | "drop_oldest" | null | undefined;
  readonly epoch?: string | null | undefined;
  /** at least 0 */
  readonly last_seq?: number | null | bigint | undefined;
}

/** Payload of pubsub.unsubscribe; without `topics`, all. */
export interface PubsubUnsubscribePayload {
  readonly topics?: readonly string[] | null | undefined;
}

/** Payload of pubsub.topics. */
export interface PubsubTopicsPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly pattern?: string | null | undefined;
}

/** How many subscribers matched, and how many of them had room for the message. */
export interface PubsubPublishResult {
  message_id: string;
  topic: string;
  subscribers_notified: number;
  subscribers_matched: number;
}

/**
 * How many messages are gone for good; `at_least` so many where that is all that is known.
 *
 * `missed` is null when the server has started anew since: nobody knows what was published meanwhile.
 */
export interface PubsubGap {
  missed: number | null;
  at_least: boolean;
  reason: "history" | "restart";
}

/** All patterns this connection is subscribed to; `gap` when messages since `last_seq` cannot be sent again. */
export interface PubsubSubscribeResult {
  subscribed: string[];
  epoch: string;
  seq: number;
  gap: PubsubGap | null;
}

/** The patterns this connection was subscribed to and is no longer. */
export interface PubsubUnsubscribeResult {
  unsubscribed: string[];
}

/** A topic; messages to it since the server started. */
export interface PubsubTopicListed {
  topic: string;
  subscribers: number;
  published_total: number;
}

/** Topics by name: those subscribed to without wildcards, and those published to of late. */
export interface PubsubTopicsResult {
  topics: PubsubTopicListed[];
}

/** Pub/sub in numbers, since the server started. */
export interface PubsubStatsResult {
  total_topics: number;
  total_subscribers: number;
  published_total: number;
  delivered_total: number;
  dropped_total: number;
}

/** The commands `pubsub.*`. */
export class PubsubCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Send a message to everybody who is subscribed to a pattern that matches the topic.
   *
   * Cost O(levels + matches). Since 0.3.
   */
  publish(payload: PubsubPublishPayload, options?: CallOptions): Promise<PubsubPublishResult> {
    return this.caller.call("pubsub.publish", payload, options);
  }

  /**
   * List topics, all or those that match a pattern.
   *
   * Cost O(topics log topics). Since 0.3.
   */
  topics(payload: PubsubTopicsPayload = {}, options?: CallOptions): Promise<PubsubTopicsResult> {
    return this.caller.call("pubsub.topics", payload, options);
  }

  /**
   * Describe pub/sub as a whole.
   *
   * Cost O(1). Since 0.3.
   */
  stats(options?: CallOptions): Promise<PubsubStatsResult> {
    return this.caller.call("pubsub.stats", {}, options);
  }
}
