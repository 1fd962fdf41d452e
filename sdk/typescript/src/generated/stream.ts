// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller, Json, JsonInput } from "../types.js";

/** Payload of stream.create. */
export interface StreamCreatePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly room: string;
  /** at least 1; at most 1024; 1 when left out */
  readonly partitions?: number | undefined;
  readonly retention?: StreamRetentionOptions | undefined;
}

/** A command on one room. */
export interface StreamDeletePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly room: string;
}

/** Payload of stream.publish. Without `partition` the key decides, as in Kafka; without a key they take turns. */
export interface StreamPublishPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly room: string;
  /** at most 1024 characters */
  readonly event_type: string;
  readonly data?: JsonInput | undefined;
  readonly data_base64?: string | undefined;
  /** at most 65536 characters */
  readonly key?: string | null | undefined;
  readonly key_base64?: string | null | undefined;
  /** {} when left out */
  readonly headers?: { readonly [name: string]: JsonInput } | undefined;
  /** at least 0; at most 2147483647 */
  readonly partition?: number | null | undefined;
}

/** Payload of stream.publish_batch. */
export interface StreamPublishBatchPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly room: string;
  /** at least 1 of them; at most 10000 of them */
  readonly events: readonly StreamNewEvent[];
}

/**
 * Payload of stream.history. Begins at `from_offset`, else at `from_timestamp` (Unix ms), else at the oldest event.
 *
 * `reverse` reads backwards, from there or from the newest. With `create`, a room that is not there counts as empty.
 */
export interface StreamHistoryPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly room: string;
  /** at least 0 */
  readonly from_offset?: number | null | bigint | undefined;
  /** at least 1; at most 10000; 100 when left out */
  readonly limit?: number | undefined;
  /** at least 0; at most 2147483647; 0 when left out */
  readonly partition?: number | undefined;
  /** at least 0 */
  readonly from_timestamp?: number | null | bigint | undefined;
  /** at least 1 of them; at most 1000 of them */
  readonly event_types?: readonly string[] | null | undefined;
  /** false when left out */
  readonly reverse?: boolean | undefined;
  /** false when left out */
  readonly create?: boolean | undefined;
}

/** A command on one room. */
export interface StreamStatsPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly room: string;
}

/** Payload of stream.retention; what is left out stays as it is. */
export interface StreamRetentionPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly room: string;
  /** at least 1 */
  readonly max_events?: number | null | bigint | undefined;
  /** at least 1 */
  readonly max_bytes?: number | null | bigint | undefined;
  /** seconds, decimals allowed; more than 0 */
  readonly max_age_secs?: number | null | undefined;
}

/**
 * Payload of stream.consume. A `timeout` in seconds waits for events; `start` is where a new group begins.
 *
 * With `auto_commit` what is returned counts as read; without, commit the offset behind it when it is done with.
 */
export interface StreamConsumePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly room: string;
  /** at most 1024 characters */
  readonly group: string;
  /** at most 256 characters */
  readonly consumer_id?: string | null | undefined;
  /** at least 1; at most 10000; 100 when left out */
  readonly max_events?: number | undefined;
  /** at least 0; 0 when left out */
  readonly timeout?: number | undefined;
  /** true when left out */
  readonly auto_commit?: boolean | undefined;
  /** "oldest" when left out */
  readonly start?: "latest" | "oldest" | undefined;
  /** at least 1 of them; at most 1024 of them */
  readonly partitions?: readonly number[] | null | undefined;
}

/** Payload of stream.commit; `offset` is the next one to read. */
export interface StreamCommitPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly room: string;
  /** at most 1024 characters */
  readonly group: string;
  /** at least 0 */
  readonly offset: number | bigint;
  /** at least 0; at most 2147483647; 0 when left out */
  readonly partition?: number | undefined;
}

/** A command on one consumer group. */
export interface StreamOffsetsPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly room: string;
  /** at most 1024 characters */
  readonly group: string;
}

/** A command on one room. */
export interface StreamGroupsPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly room: string;
}

/** A command on one consumer group. */
export interface StreamDeleteGroupPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly room: string;
  /** at most 1024 characters */
  readonly group: string;
}

/**
 * Payload of stream.subscribe. Begins at `from_offsets` (by partition) or `from_offset`, else where `group` is, else at
 * the oldest event with `replay`, else with what comes next. With `create`, a room that is not there counts as empty.
 *
 * A client that reads slowly catches up from the log (`policy`); nothing is dropped for it.
 */
export interface StreamSubscribePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly room: string;
  /** at least 0 */
  readonly from_offset?: number | null | bigint | undefined;
  /** {} when left out */
  readonly from_offsets?: { readonly [name: string]: number } | undefined;
  /** false when left out */
  readonly replay?: boolean | undefined;
  /** at least 0; at most 2147483647 */
  readonly partition?: number | null | undefined;
  /** at most 1024 characters */
  readonly group?: string | null | undefined;
  /** at least 1 of them; at most 1000 of them */
  readonly event_types?: readonly string[] | null | undefined;
  /** "catch_up" when left out */
  readonly policy?: "catch_up" | undefined;
  /** false when left out */
  readonly create?: boolean | undefined;
}

/** A command on one room. */
export interface StreamUnsubscribePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly room: string;
}

/** How long events are kept, in each partition; null: for ever. What is left out stays as it is by default. */
export interface StreamRetentionOptions {
  /** at least 1 */
  readonly max_events?: number | null | bigint | undefined;
  /** at least 1 */
  readonly max_bytes?: number | null | bigint | undefined;
  /** seconds, decimals allowed; more than 0 */
  readonly max_age_secs?: number | null | undefined;
}

/** An event to publish: `data` is any JSON, `data_base64` bytes; a key is text, or bytes as `key_base64`. */
export interface StreamNewEvent {
  /** at most 1024 characters */
  readonly event_type: string;
  readonly data?: JsonInput | undefined;
  readonly data_base64?: string | undefined;
  /** at most 65536 characters */
  readonly key?: string | null | undefined;
  readonly key_base64?: string | null | undefined;
  /** {} when left out */
  readonly headers?: { readonly [name: string]: JsonInput } | undefined;
}

/** The room is there now. */
export interface StreamCreateResult {
  room: string;
  created: boolean;
}

/** Whether there was something to delete. */
export interface StreamDeleteResult {
  deleted: boolean;
}

/** Where the event is, and how many were subscribed to the room. */
export interface StreamPublishResult {
  event_id: string;
  offset: number;
  partition: number;
  subscribers_notified: number;
}

/** Where the events are, in the order given. */
export interface StreamPublishBatchResult {
  offsets: number[];
  partitions: number[];
}

/** An event. `timestamp` is when it was published. Bytes that are not JSON stand in `data_base64`, `key_base64`. */
export interface StreamEvent<T = Json> {
  partition: number;
  offset: number;
  event_id: string;
  event_type: string;
  data: T;
  key: string | null;
  headers: Record<string, Json>;
  timestamp: number;
  data_base64?: string;
  key_base64?: string;
}

/**
 * Events in the order asked for. `oldest_offset` and `newest_offset` are null when the partition holds none.
 *
 * Go on at `next_offset`; backwards, null is the end.
 */
export interface StreamHistoryResult<T = Json> {
  events: StreamEvent<T>[];
  oldest_offset: number | null;
  newest_offset: number | null;
  next_offset: number | null;
}

/** A room in the list of all. */
export interface StreamRoomListed {
  room: string;
  partitions: number;
  events: number;
  bytes: number;
  subscribers: number;
}

/** All rooms, by name. */
export interface StreamRoomsResult {
  rooms: StreamRoomListed[];
}

/** One partition; `oldest_offset` and `newest_offset` are null when it holds no events. */
export interface StreamPartitionStats {
  partition: number;
  events: number;
  bytes: number;
  oldest_offset: number | null;
  newest_offset: number | null;
  next_offset: number;
}

/** How much each partition keeps; None is no limit. */
export interface StreamRetention {
  /** at least 1 */
  max_events: number | null;
  /** at least 1 */
  max_bytes: number | null;
  /** seconds, decimals allowed; more than 0 */
  max_age_secs: number | null;
}

/** A room in numbers; `oldest_offset` and `newest_offset` are those of the first partition. */
export interface StreamStatsResult {
  room: string;
  partitions: StreamPartitionStats[];
  events: number;
  bytes: number;
  oldest_offset: number | null;
  newest_offset: number | null;
  published_total: number;
  subscribers: number;
  groups: number;
  retention: StreamRetention;
}

/** The retention now in force. */
export interface StreamRetentionResult {
  retention: StreamRetention;
}

/** Events the group has not read, and how many more there are. `missed` were removed before it could read them. */
export interface StreamConsumeResult<T = Json> {
  events: StreamEvent<T>[];
  lag: number;
  missed: number;
}

/** The offset the group goes on at. */
export interface StreamCommitResult {
  committed: number;
}

/** Where a group is in a partition; `newest` is null when it holds no events. */
export interface StreamPartitionOffsets {
  partition: number;
  committed: number;
  newest: number | null;
  lag: number;
}

/** Where a group is. */
export interface StreamOffsetsResult {
  partitions: StreamPartitionOffsets[];
}

/** A consumer group; `consumers` are those that wait for events or have asked for some within half a minute. */
export interface StreamGroupListed {
  group: string;
  lag: number;
  consumers: number;
}

/** The consumer groups of a room, by name. */
export interface StreamGroupsResult {
  groups: StreamGroupListed[];
}

/** Whether there was such a group. */
export interface StreamDeleteGroupResult {
  deleted: boolean;
}

/** Offsets that were asked for and are gone, both ends included. */
export interface StreamGap {
  from: number;
  to: number;
}

/**
 * Where the subscription begins; `next_offset` and `gap` are those of the first of its partitions.
 *
 * What is gone in other partitions is told as gaps where their events would have come.
 */
export interface StreamSubscribeResult {
  subscribed: boolean;
  room: string;
  next_offset: number;
  gap: StreamGap | null;
  next_offsets: Record<string, number>;
}

/** Whether there was a subscription. */
export interface StreamUnsubscribeResult {
  unsubscribed: boolean;
}

/** The commands `stream.*`. */
export class StreamCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Create a room. ROOM_EXISTS when there is one.
   *
   * Cost O(partitions). Since 0.3.
   */
  create(payload: StreamCreatePayload, options?: CallOptions): Promise<StreamCreateResult> {
    return this.caller.call("stream.create", payload, options);
  }

  /**
   * Delete a room with its events and groups.
   *
   * Cost O(n). Since 0.3.
   */
  delete(payload: StreamDeletePayload, options?: CallOptions): Promise<StreamDeleteResult> {
    return this.caller.call("stream.delete", payload, options);
  }

  /**
   * Add an event to a room; one that is not there is created.
   *
   * Cost O(1). Since 0.3.
   */
  publish(payload: StreamPublishPayload, options?: CallOptions): Promise<StreamPublishResult> {
    return this.caller.call("stream.publish", payload, options);
  }

  /**
   * Add several events to a room, in one record; a room that is not there is created.
   *
   * Cost O(events). Since 0.3.
   */
  publish_batch(payload: StreamPublishBatchPayload, options?: CallOptions): Promise<StreamPublishBatchResult> {
    return this.caller.call("stream.publish_batch", payload, options);
  }

  /**
   * Read events of a partition, from an offset or a time on.
   *
   * Cost O(log n + events looked at). Since 0.3.
   */
  history<T = Json>(payload: StreamHistoryPayload, options?: CallOptions): Promise<StreamHistoryResult<T>> {
    return this.caller.call("stream.history", payload, options);
  }

  /**
   * List all rooms.
   *
   * Where there are many, this takes several turns of the server: each is described as it is at its turn.
   *
   * Cost O(rooms). Since 0.3.
   */
  rooms(options?: CallOptions): Promise<StreamRoomsResult> {
    return this.caller.call("stream.rooms", {}, options);
  }

  /**
   * Describe a room.
   *
   * Cost O(partitions). Since 0.3.
   */
  stats(payload: StreamStatsPayload, options?: CallOptions): Promise<StreamStatsResult> {
    return this.caller.call("stream.stats", payload, options);
  }

  /**
   * Change how long the events of a room are kept; with nothing to change, tell.
   *
   * Cost O(partitions * log n). Since 0.3.
   */
  retention(payload: StreamRetentionPayload, options?: CallOptions): Promise<StreamRetentionResult> {
    return this.caller.call("stream.retention", payload, options);
  }

  /**
   * Read on as a consumer group, in all partitions or those named.
   *
   * Cost O(partitions + events). Since 0.3.
   */
  consume<T = Json>(payload: StreamConsumePayload, options?: CallOptions): Promise<StreamConsumeResult<T>> {
    return this.caller.call("stream.consume", payload, options);
  }

  /**
   * Say where a group goes on in a partition, also backwards; a group that is not there is created.
   *
   * Cost O(1). Since 0.3.
   */
  commit(payload: StreamCommitPayload, options?: CallOptions): Promise<StreamCommitResult> {
    return this.caller.call("stream.commit", payload, options);
  }

  /**
   * Tell where a group goes on in each partition.
   *
   * Cost O(partitions). Since 0.3.
   */
  offsets(payload: StreamOffsetsPayload, options?: CallOptions): Promise<StreamOffsetsResult> {
    return this.caller.call("stream.offsets", payload, options);
  }

  /**
   * List the consumer groups of a room.
   *
   * Cost O(groups * partitions). Since 0.3.
   */
  groups(payload: StreamGroupsPayload, options?: CallOptions): Promise<StreamGroupsResult> {
    return this.caller.call("stream.groups", payload, options);
  }

  /**
   * Forget a consumer group and where it was.
   *
   * Cost O(1). Since 0.3.
   */
  delete_group(payload: StreamDeleteGroupPayload, options?: CallOptions): Promise<StreamDeleteGroupResult> {
    return this.caller.call("stream.delete_group", payload, options);
  }
}
