// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller, Json, JsonInput } from "../types.js";

/** Payload of the pushing commands. */
export interface ListLpushPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly value?: JsonInput | undefined;
  /** at least 1 of them */
  readonly values?: readonly JsonInput[] | null | undefined;
}

/** Payload of the pushing commands. */
export interface ListRpushPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly value?: JsonInput | undefined;
  /** at least 1 of them */
  readonly values?: readonly JsonInput[] | null | undefined;
}

/** Payload of the pushing commands. */
export interface ListLpushxPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly value?: JsonInput | undefined;
  /** at least 1 of them */
  readonly values?: readonly JsonInput[] | null | undefined;
}

/** Payload of the pushing commands. */
export interface ListRpushxPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly value?: JsonInput | undefined;
  /** at least 1 of them */
  readonly values?: readonly JsonInput[] | null | undefined;
}

/** Payload of list.lpop and list.rpop. */
export interface ListLpopPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** at least 0; 1 when left out */
  readonly count?: number | bigint | undefined;
}

/** Payload of list.lpop and list.rpop. */
export interface ListRpopPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** at least 0; 1 when left out */
  readonly count?: number | bigint | undefined;
}

/**
 * A command that takes from the first of several keys that has something. A `timeout` of 0 waits for ever.
 *
 * Timeouts are in seconds, decimals allowed, and end at `limits.max_wait_secs` of the server.
 */
export interface ListBlpopPayload {
  /** at least 1 of them; at most 10000 of them */
  readonly keys: readonly string[];
  /** at least 0 */
  readonly timeout: number;
}

/**
 * A command that takes from the first of several keys that has something. A `timeout` of 0 waits for ever.
 *
 * Timeouts are in seconds, decimals allowed, and end at `limits.max_wait_secs` of the server.
 */
export interface ListBrpopPayload {
  /** at least 1 of them; at most 10000 of them */
  readonly keys: readonly string[];
  /** at least 0 */
  readonly timeout: number;
}

/** Payload of list.range: first and last index, negatives from the end. */
export interface ListRangePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** 0 when left out */
  readonly start?: number | bigint | undefined;
  /** -1 when left out */
  readonly stop?: number | bigint | undefined;
}

/** A command on one key. */
export interface ListLenPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** Payload of list.index; a negative index counts from the end. */
export interface ListIndexPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly index: number | bigint;
}

/** Payload of list.set. */
export interface ListSetPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly index: number | bigint;
  readonly value: JsonInput;
}

/** Payload of list.trim: first and last index to keep, negatives from the end. */
export interface ListTrimPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly start: number | bigint;
  readonly stop: number | bigint;
}

/** Payload of list.rem: up to `count` from the left, from the right when negative, all when 0. */
export interface ListRemPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly value: JsonInput;
  /** 0 when left out */
  readonly count?: number | bigint | undefined;
}

/** Payload of list.insert. */
export interface ListInsertPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly position: "after" | "before";
  readonly pivot: JsonInput;
  readonly value: JsonInput;
}

/** Payload of list.pos: begin with the `rank`-th match, from the end when negative; `count` 0 means all. */
export interface ListPosPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly value: JsonInput;
  /** 1 when left out */
  readonly rank?: number | bigint | undefined;
  /** at least 0 */
  readonly count?: number | null | bigint | undefined;
}

/** Payload of list.move. */
export interface ListMovePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly source: string;
  /** 1 byte to 64 KiB of UTF-8 */
  readonly destination: string;
  /** "right" when left out */
  readonly from?: "left" | "right" | undefined;
  /** "left" when left out */
  readonly to?: "left" | "right" | undefined;
}

/** Payload of list.rpoplpush. */
export interface ListRpoplpushPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly source: string;
  /** 1 byte to 64 KiB of UTF-8 */
  readonly destination: string;
}

/** Characters in the string, or elements in the collection, after the command. */
export interface ListLpushResult {
  length: number;
}

/** Characters in the string, or elements in the collection, after the command. */
export interface ListRpushResult {
  length: number;
}

/** Characters in the string, or elements in the collection, after the command. */
export interface ListLpushxResult {
  length: number;
}

/** Characters in the string, or elements in the collection, after the command. */
export interface ListRpushxResult {
  length: number;
}

/** JSON values in the order asked for; null where there is none. */
export interface ListLpopResult<T = Json> {
  values: (T | null)[];
}

/** JSON values in the order asked for; null where there is none. */
export interface ListRpopResult<T = Json> {
  values: (T | null)[];
}

/** A value and the list it came from; both null when nothing came in time. */
export interface ListBlpopResult<T = Json> {
  key: string | null;
  value: T | null;
}

/** A value and the list it came from; both null when nothing came in time. */
export interface ListBrpopResult<T = Json> {
  key: string | null;
  value: T | null;
}

/** JSON values in the order asked for; null where there is none. */
export interface ListRangeResult<T = Json> {
  values: (T | null)[];
}

/** Characters in the string, or elements in the collection, after the command. */
export interface ListLenResult {
  length: number;
}

/** The value at an index, null when there is none. */
export interface ListIndexResult<T = Json> {
  found: boolean;
  value: T | null;
}

/** Whether the command found what it needed. */
export interface ListSetResult {
  success: boolean;
}

/** Characters in the string, or elements in the collection, after the command. */
export interface ListTrimResult {
  length: number;
}

/** How many were there and are gone. */
export interface ListRemResult {
  removed: number;
}

/** Characters in the string, or elements in the collection, after the command. */
export interface ListInsertResult {
  length: number;
}

/** `index` of the match, null when there is none; with `count`, `indexes` instead. */
export interface ListPosResult {
  index: number | null;
  indexes: number[] | null;
}

/** The value moved, null when there was none. */
export interface ListMoveResult<T = Json> {
  value: T | null;
}

/** The value moved, null when there was none. */
export interface ListRpoplpushResult<T = Json> {
  value: T | null;
}

/** Keys of one type, what they hold, their memory, and how often each command ran since the server started. */
export interface ListStatsResult {
  total_keys: number;
  total_elements: number;
  memory_bytes: number;
  operations: Record<string, number>;
}

/** The commands `list.*`. */
export class ListCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Add values at the left end, one after the other.
   *
   * Cost O(values). Since 0.2.
   */
  lpush(payload: ListLpushPayload, options?: CallOptions): Promise<ListLpushResult> {
    return this.caller.call("list.lpush", payload, options);
  }

  /**
   * Add values at the right end.
   *
   * Cost O(values). Since 0.2.
   */
  rpush(payload: ListRpushPayload, options?: CallOptions): Promise<ListRpushResult> {
    return this.caller.call("list.rpush", payload, options);
  }

  /**
   * Add values at the left end of a list that exists; length 0 when there is none.
   *
   * Cost O(values). Since 0.2.
   */
  lpushx(payload: ListLpushxPayload, options?: CallOptions): Promise<ListLpushxResult> {
    return this.caller.call("list.lpushx", payload, options);
  }

  /**
   * Add values at the right end of a list that exists; length 0 when there is none.
   *
   * Cost O(values). Since 0.2.
   */
  rpushx(payload: ListRpushxPayload, options?: CallOptions): Promise<ListRpushxResult> {
    return this.caller.call("list.rpushx", payload, options);
  }

  /**
   * Take values from the left end, the first one first.
   *
   * Cost O(count). Since 0.2.
   */
  lpop<T = Json>(payload: ListLpopPayload, options?: CallOptions): Promise<ListLpopResult<T>> {
    return this.caller.call("list.lpop", payload, options);
  }

  /**
   * Take values from the right end, the last one first.
   *
   * Cost O(count). Since 0.2.
   */
  rpop<T = Json>(payload: ListRpopPayload, options?: CallOptions): Promise<ListRpopResult<T>> {
    return this.caller.call("list.rpop", payload, options);
  }

  /**
   * Take the first value of the first list that has any; wait for one when none has.
   *
   * Cost O(keys). Since 0.2.
   */
  blpop<T = Json>(payload: ListBlpopPayload, options?: CallOptions): Promise<ListBlpopResult<T>> {
    return this.caller.call("list.blpop", payload, options);
  }

  /**
   * Take the last value of the first list that has any; wait for one when none has.
   *
   * Cost O(keys). Since 0.2.
   */
  brpop<T = Json>(payload: ListBrpopPayload, options?: CallOptions): Promise<ListBrpopResult<T>> {
    return this.caller.call("list.brpop", payload, options);
  }

  /**
   * Read the values between two indexes, both included.
   *
   * Cost O(start + result). Since 0.2.
   */
  range<T = Json>(payload: ListRangePayload, options?: CallOptions): Promise<ListRangeResult<T>> {
    return this.caller.call("list.range", payload, options);
  }

  /**
   * Count the values.
   *
   * Cost O(1). Since 0.2.
   */
  len(payload: ListLenPayload, options?: CallOptions): Promise<ListLenResult> {
    return this.caller.call("list.len", payload, options);
  }

  /**
   * Read the value at an index.
   *
   * Cost O(1) near the ends. Since 0.2.
   */
  index<T = Json>(payload: ListIndexPayload, options?: CallOptions): Promise<ListIndexResult<T>> {
    return this.caller.call("list.index", payload, options);
  }

  /**
   * Replace the value at an index.
   *
   * Cost O(1) near the ends. Since 0.2.
   */
  set(payload: ListSetPayload, options?: CallOptions): Promise<ListSetResult> {
    return this.caller.call("list.set", payload, options);
  }

  /**
   * Keep only the values between two indexes, both included.
   *
   * Cost O(removed). Since 0.2.
   */
  trim(payload: ListTrimPayload, options?: CallOptions): Promise<ListTrimResult> {
    return this.caller.call("list.trim", payload, options);
  }

  /**
   * Remove values equal to one, compared as JSON values.
   *
   * Cost O(n). Since 0.2.
   */
  rem(payload: ListRemPayload, options?: CallOptions): Promise<ListRemResult> {
    return this.caller.call("list.rem", payload, options);
  }

  /**
   * Insert a value next to the first one equal to `pivot`; length -1 when there is none, 0 without a list.
   *
   * Cost O(n). Since 0.2.
   */
  insert(payload: ListInsertPayload, options?: CallOptions): Promise<ListInsertResult> {
    return this.caller.call("list.insert", payload, options);
  }

  /**
   * Find values equal to one, compared as JSON values.
   *
   * Cost O(n). Since 0.2.
   */
  pos(payload: ListPosPayload, options?: CallOptions): Promise<ListPosResult> {
    return this.caller.call("list.pos", payload, options);
  }

  /**
   * Take a value from an end of one list and add it at an end of another, or of the same one.
   *
   * Cost O(1). Since 0.2.
   */
  move<T = Json>(payload: ListMovePayload, options?: CallOptions): Promise<ListMoveResult<T>> {
    return this.caller.call("list.move", payload, options);
  }

  /**
   * Take the last value of one list and add it at the left end of another.
   *
   * Cost O(1). Since 0.2.
   */
  rpoplpush<T = Json>(payload: ListRpoplpushPayload, options?: CallOptions): Promise<ListRpoplpushResult<T>> {
    return this.caller.call("list.rpoplpush", payload, options);
  }

  /**
   * Describe all lists together.
   *
   * Cost O(1). Since 0.2.
   */
  stats(options?: CallOptions): Promise<ListStatsResult> {
    return this.caller.call("list.stats", {}, options);
  }
}
