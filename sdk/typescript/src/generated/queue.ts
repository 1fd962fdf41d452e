// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller, Json, JsonInput } from "../types.js";

/** Payload of queue.create and queue.configure. */
export interface QueueCreatePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
  readonly config?: QueueOptions | undefined;
}

/** Payload of queue.create and queue.configure. */
export interface QueueConfigurePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
  readonly config?: QueueOptions | undefined;
}

/** Payload of queue.publish: `message`, or `message_base64` for bytes that are not JSON. */
export interface QueuePublishPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
  readonly message?: JsonInput | undefined;
  readonly message_base64?: string | undefined;
  /** 9 comes first; at least 0; at most 9; 5 when left out */
  readonly priority?: number | undefined;
  /** {} when left out */
  readonly headers?: { readonly [name: string]: JsonInput } | undefined;
  /** seconds, decimals allowed; at least 0; 0 when left out */
  readonly delay_secs?: number | undefined;
  /** seconds, decimals allowed; more than 0 */
  readonly ttl?: number | null | undefined;
  /** at most 1024 characters */
  readonly dedup_id?: string | null | undefined;
}

/** Payload of queue.peek. */
export interface QueuePeekPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
  /** at least 1; at most 10000; 1 when left out */
  readonly count?: number | undefined;
}

/** A command on one queue. */
export interface QueuePurgePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
}

/** A command on one queue. */
export interface QueueDeletePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
}

/** A command on one queue. */
export interface QueueStatsPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
}

/**
 * Payload of queue.consume. A `timeout` in seconds waits for a message; `max_messages` asks for several at once.
 *
 * `ack_deadline` in seconds says how long the messages are the consumer's alone; default is the queue's.
 */
export interface QueueConsumePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
  /** at least 0; 0 when left out */
  readonly timeout?: number | undefined;
  /** seconds, decimals allowed; more than 0 */
  readonly ack_deadline?: number | null | undefined;
  /** at most 512 characters */
  readonly consumer_id?: string | null | undefined;
  /** at least 1; at most 10000 */
  readonly max_messages?: number | null | undefined;
}

/**
 * Payload of queue.ack. With `delivery` (`deliveries` for several), as it came with the message, an earlier lease of it
 * does not count.
 */
export interface QueueAckPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
  /** at most 64 characters */
  readonly message_id?: string | null | undefined;
  /** at least 1 of them; at most 10000 of them */
  readonly message_ids?: readonly string[] | null | undefined;
  readonly delivery?: number | null | bigint | undefined;
  /** at least 1 of them; at most 10000 of them */
  readonly deliveries?: readonly number[] | null | undefined;
}

/** Payload of queue.nack. `delay_secs`: how long it rests; by default, as the queue's retry policy says. */
export interface QueueNackPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
  /** at most 64 characters */
  readonly message_id: string;
  /** true when left out */
  readonly requeue?: boolean | undefined;
  /** seconds, decimals allowed; at least 0 */
  readonly delay_secs?: number | null | undefined;
  readonly delivery?: number | null | bigint | undefined;
}

/** Payload of queue.extend; `ack_deadline` in seconds from now. */
export interface QueueExtendPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
  /** at most 64 characters */
  readonly message_id: string;
  /** seconds, decimals allowed; more than 0 */
  readonly ack_deadline: number;
  readonly delivery?: number | null | bigint | undefined;
}

/** Payload of queue.subscribe: at most `prefetch` messages are unacknowledged at a time. */
export interface QueueSubscribePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
  /** at least 1; at most 10000; 1 when left out */
  readonly prefetch?: number | undefined;
  /** seconds, decimals allowed; more than 0 */
  readonly ack_deadline?: number | null | undefined;
  /** at most 256 characters */
  readonly consumer_id?: string | null | undefined;
}

/** A command on one queue. */
export interface QueueUnsubscribePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
}

/** Payload of queue.dlq. */
export interface QueueDlqPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
  /** at least 1; at most 10000; 100 when left out */
  readonly count?: number | undefined;
}

/** Payload of queue.dlq_replay: one dead letter, or with `all` all of them. */
export interface QueueDlqReplayPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
  /** at most 64 characters */
  readonly message_id?: string | null | undefined;
  /** false when left out */
  readonly all?: boolean | undefined;
}

/** A command on one queue. */
export interface QueueDlqPurgePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly queue: string;
}

/** How long a message rests before it comes again; what is left out is as the server's defaults say. */
export interface QueueRetryOptions {
  readonly strategy?: "exponential" | "fixed" | "linear" | undefined;
  /** seconds, decimals allowed; at least 0 */
  readonly initial_secs?: number | undefined;
  /** seconds, decimals allowed; at least 0 */
  readonly max_secs?: number | undefined;
  /** at least 1; at most 1000000 */
  readonly multiplier?: number | undefined;
}

/** What a queue is like; what is left out is as the server's defaults say. */
export interface QueueOptions {
  /** at least 1 */
  readonly max_depth?: number | null | bigint | undefined;
  /** seconds, decimals allowed; more than 0 */
  readonly ack_deadline_secs?: number | undefined;
  /** 0 = no limit; at least 0; at most 1000000000 */
  readonly max_retries?: number | undefined;
  readonly retry?: QueueRetryOptions | undefined;
  /** seconds, decimals allowed; more than 0 */
  readonly message_ttl_secs?: number | null | undefined;
  readonly dead_letter?: boolean | undefined;
}

/** `created` is false when the queue was there already, with the same configuration. */
export interface QueueCreateResult {
  queue: string;
  created: boolean;
}

/** How long a message rests after a failed delivery. */
export interface QueueRetryPolicy {
  strategy: "exponential" | "fixed" | "linear";
  /** seconds, decimals allowed; at least 0 */
  initial_secs: number;
  /** seconds, decimals allowed; at least 0 */
  max_secs: number;
  /** at least 1; at most 1000000 */
  multiplier: number;
}

/** The settings of one queue. */
export interface QueueConfig {
  /** at least 1 */
  max_depth: number | null;
  /** seconds, decimals allowed; more than 0 */
  ack_deadline_secs: number;
  /** 0 = no limit; at least 0; at most 1000000000 */
  max_retries: number;
  retry: QueueRetryPolicy;
  /** seconds, decimals allowed; more than 0 */
  message_ttl_secs: number | null;
  dead_letter: boolean;
}

/** The configuration now in force. */
export interface QueueConfigureResult {
  queue: string;
  config: QueueConfig;
}

/**
 * `position` 1 is next; null while delayed, or when the message is with a consumer or gone.
 *
 * `duplicate`: the `dedup_id` was seen in the last five minutes. Nothing was added, and the rest describes that
 * message.
 */
export interface QueuePublishResult {
  message_id: string;
  position: number | null;
  seq: number;
  duplicate: boolean;
}

/**
 * A message. `retry_count` counts failed deliveries; `delivery` numbers this one, 0 before the first; `deadline` is
 * when its lease is over, null unless it is leased.
 *
 * A message of bytes is null, and stands in `message_base64`.
 */
export interface QueueDelivery<T = Json> {
  message_id: string;
  message: T;
  priority: number;
  retry_count: number;
  headers: Record<string, Json>;
  seq: number;
  published_at: number;
  delivery: number;
  deadline: number | null;
  message_base64?: string;
}

/** Messages in order. */
export interface QueuePeekResult<T = Json> {
  messages: QueueDelivery<T>[];
}

/** How many messages were dropped. */
export interface QueuePurgeResult {
  purged: number;
}

/** Whether there was something to delete. */
export interface QueueDeleteResult {
  deleted: boolean;
}

/**
 * A queue in numbers. Totals count since it was created.
 *
 * `consumers` are those subscribed or waiting, and those named ones that have messages in flight.
 */
export interface QueueStatsResult {
  queue: string;
  depth: number;
  delayed: number;
  in_flight: number;
  consumers: number;
  published_total: number;
  consumed_total: number;
  acked_total: number;
  nacked_total: number;
  dead_lettered_total: number;
  dlq_depth: number;
  oldest_message_age_secs: number;
  config: QueueConfig;
}

/** A queue in the list of all. */
export interface QueueListed {
  name: string;
  depth: number;
  in_flight: number;
}

/** All queues, by name. */
export interface QueueListResult {
  queues: QueueListed[];
}

/** A message, or nulls when there was none; with `max_messages`, the list `messages` instead. */
export interface QueueConsumeResult<T = Json> {
  message_id?: string | null;
  message?: T | null;
  priority?: number | null;
  retry_count?: number | null;
  headers?: Record<string, Json> | null;
  seq?: number | null;
  published_at?: number | null;
  delivery?: number | null;
  deadline?: number | null;
  message_base64?: string;
  messages?: QueueDelivery<T>[];
}

/** `missing` lists messages that are unknown or whose lease is over; `success`: there were none. */
export interface QueueAckResult {
  success: boolean;
  acked: number;
  missing: string[];
}

/** What has become of the message. */
export interface QueueNackResult {
  success: boolean;
  action: "dead_lettered" | "dropped" | "requeued";
}

/** When the lease is over now. */
export interface QueueExtendResult {
  success: boolean;
  deadline: number;
}

/** The subscription is made. */
export interface QueueSubscribeResult {
  subscribed: boolean;
  queue: string;
  prefetch: number;
}

/** Whether there was a subscription. */
export interface QueueUnsubscribeResult {
  unsubscribed: boolean;
}

/** Messages in order. */
export interface QueueDlqResult<T = Json> {
  messages: QueueDelivery<T>[];
}

/** How many dead letters are messages again; what a single one is called now. */
export interface QueueDlqReplayResult {
  replayed: number;
  message_id: string | null;
  seq: number | null;
}

/** How many messages were dropped. */
export interface QueueDlqPurgeResult {
  purged: number;
}

/** The commands `queue.*`. */
export class QueueCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Create a queue. One that is there with another configuration is QUEUE_EXISTS.
   *
   * Cost O(1). Since 0.3.
   */
  create(payload: QueueCreatePayload, options?: CallOptions): Promise<QueueCreateResult> {
    return this.caller.call("queue.create", payload, options);
  }

  /**
   * Change the configuration of a queue; what is left out stays. It holds for what happens from now on.
   *
   * Cost O(1). Since 0.3.
   */
  configure(payload: QueueConfigurePayload, options?: CallOptions): Promise<QueueConfigureResult> {
    return this.caller.call("queue.configure", payload, options);
  }

  /**
   * Add a message. A queue that is not there is created, unless the server says otherwise.
   *
   * Cost O(log n). Since 0.3.
   */
  publish(payload: QueuePublishPayload, options?: CallOptions): Promise<QueuePublishResult> {
    return this.caller.call("queue.publish", payload, options);
  }

  /**
   * Look at the next messages without taking them.
   *
   * Cost O(count). Since 0.3.
   */
  peek<T = Json>(payload: QueuePeekPayload, options?: CallOptions): Promise<QueuePeekResult<T>> {
    return this.caller.call("queue.peek", payload, options);
  }

  /**
   * Drop the messages that are ready or delayed; those in flight and the dead letters stay.
   *
   * Cost O(n). Since 0.3.
   */
  purge(payload: QueuePurgePayload, options?: CallOptions): Promise<QueuePurgeResult> {
    return this.caller.call("queue.purge", payload, options);
  }

  /**
   * Delete a queue with everything in it.
   *
   * Cost O(n). Since 0.3.
   */
  delete(payload: QueueDeletePayload, options?: CallOptions): Promise<QueueDeleteResult> {
    return this.caller.call("queue.delete", payload, options);
  }

  /**
   * Describe a queue.
   *
   * Cost O(1). Since 0.3.
   */
  stats(payload: QueueStatsPayload, options?: CallOptions): Promise<QueueStatsResult> {
    return this.caller.call("queue.stats", payload, options);
  }

  /**
   * List all queues.
   *
   * Where there are many, this takes several turns of the server: each is described as it is at its turn.
   *
   * Cost O(queues). Since 0.3.
   */
  list(options?: CallOptions): Promise<QueueListResult> {
    return this.caller.call("queue.list", {}, options);
  }

  /**
   * Take the next message, or several. They come again unless they are acknowledged before their deadline.
   *
   * Cost O(messages * log n). Since 0.3.
   */
  consume<T = Json>(payload: QueueConsumePayload, options?: CallOptions): Promise<QueueConsumeResult<T>> {
    return this.caller.call("queue.consume", payload, options);
  }

  /**
   * Say that messages are done with. MESSAGE_NOT_FOUND when none of them is leased any longer.
   *
   * Cost O(messages * log n). Since 0.3.
   */
  ack(payload: QueueAckPayload, options?: CallOptions): Promise<QueueAckResult> {
    return this.caller.call("queue.ack", payload, options);
  }

  /**
   * Give a message back: it comes again, or is a dead letter with `requeue` false or after too many deliveries.
   *
   * Cost O(log n). Since 0.3.
   */
  nack(payload: QueueNackPayload, options?: CallOptions): Promise<QueueNackResult> {
    return this.caller.call("queue.nack", payload, options);
  }

  /**
   * Let a lease run until `ack_deadline` seconds from now.
   *
   * Cost O(log n). Since 0.3.
   */
  extend(payload: QueueExtendPayload, options?: CallOptions): Promise<QueueExtendResult> {
    return this.caller.call("queue.extend", payload, options);
  }

  /**
   * Look at the dead letters, the first to die first; headers `x-death-reason` and `x-death-at` say why and when.
   *
   * Cost O(count). Since 0.3.
   */
  dlq<T = Json>(payload: QueueDlqPayload, options?: CallOptions): Promise<QueueDlqResult<T>> {
    return this.caller.call("queue.dlq", payload, options);
  }

  /**
   * Publish dead letters anew, as messages never delivered before. QUEUE_FULL when not all of them fit.
   *
   * Cost O(replayed * log n). Since 0.3.
   */
  dlq_replay(payload: QueueDlqReplayPayload, options?: CallOptions): Promise<QueueDlqReplayResult> {
    return this.caller.call("queue.dlq_replay", payload, options);
  }

  /**
   * Drop all dead letters.
   *
   * Cost O(dead letters). Since 0.3.
   */
  dlq_purge(payload: QueueDlqPurgePayload, options?: CallOptions): Promise<QueueDlqPurgeResult> {
    return this.caller.call("queue.dlq_purge", payload, options);
  }
}
