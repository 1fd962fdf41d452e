// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller, Json, JsonInput } from "../types.js";

/** Payload of hash.set and hash.setnx. */
export interface HashSetPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly field: string;
  readonly value: JsonInput;
}

/** Payload of hash.mset: an object with a member for each field, or a list. */
export interface HashMsetPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly fields: { readonly [name: string]: JsonInput } | readonly HashAssignment[];
}

/** Payload of hash.set and hash.setnx. */
export interface HashSetnxPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly field: string;
  readonly value: JsonInput;
}

/** A command on one field. */
export interface HashGetPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly field: string;
}

/** A command on several fields. */
export interface HashMgetPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly fields: readonly string[];
}

/** A command on one key. */
export interface HashGetallPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** A command on one key. */
export interface HashKeysPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** A command on one key. */
export interface HashValsPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** A command on one key. */
export interface HashLenPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** A command on one field. */
export interface HashExistsPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly field: string;
}

/** Payload of hash.del. */
export interface HashDelPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly field?: string | null | undefined;
  readonly fields?: readonly string[] | null | undefined;
}

/** Payload of hash.incrby. */
export interface HashIncrbyPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly field: string;
  readonly increment: number | bigint;
}

/** Payload of hash.incrbyfloat. */
export interface HashIncrbyfloatPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly field: string;
  readonly increment: number;
}

/** Payload of hash.scan. `match` is a glob on the fields. */
export interface HashScanPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly match?: string | null | undefined;
  readonly cursor?: string | null | undefined;
  /** at least 1; at most 10000; 100 when left out */
  readonly count?: number | undefined;
}

/** A field with its value. */
export interface HashAssignment {
  readonly field: string;
  readonly value: JsonInput;
}

/** Whether the field is new. */
export interface HashSetResult {
  created: boolean;
}

/** `created` counts the fields that are new. */
export interface HashMsetResult {
  success: boolean;
  created: number;
}

/** Whether the field is new. */
export interface HashSetnxResult {
  created: boolean;
}

/** The value of a field, null when there is none. */
export interface HashGetResult<T = Json> {
  found: boolean;
  value: T | null;
}

/** JSON values in the order asked for; null where there is none. */
export interface HashMgetResult<T = Json> {
  values: (T | null)[];
}

/** Fields with their values. */
export interface HashGetallResult<T = Json> {
  fields: Record<string, T>;
}

/** Names of fields. */
export interface HashKeysResult {
  fields: string[];
}

/** JSON values in the order asked for; null where there is none. */
export interface HashValsResult<T = Json> {
  values: (T | null)[];
}

/** Characters in the string, or elements in the collection, after the command. */
export interface HashLenResult {
  length: number;
}

/** Whether the field is there. */
export interface HashExistsResult {
  exists: boolean;
}

/** How many fields were there and are gone. */
export interface HashDelResult {
  deleted: number;
}

/** The value after the change. */
export interface HashIncrbyResult {
  value: number;
}

/** The value after the change. */
export interface HashIncrbyfloatResult {
  value: number;
}

/** A page of fields with their values; `cursor` is null at the end. It may hold fewer than `count`, even none. */
export interface HashScanResult<T = Json> {
  fields: Record<string, T>;
  cursor: string | null;
  has_more: boolean;
}

/** Keys of one type, what they hold, their memory, and how often each command ran since the server started. */
export interface HashStatsResult {
  total_keys: number;
  total_elements: number;
  memory_bytes: number;
  operations: Record<string, number>;
}

/** The commands `hash.*`. */
export class HashCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Store a JSON value in a field.
   *
   * Cost O(1). Since 0.2.
   */
  set(payload: HashSetPayload, options?: CallOptions): Promise<HashSetResult> {
    return this.caller.call("hash.set", payload, options);
  }

  /**
   * Store values in several fields.
   *
   * Cost O(fields). Since 0.2.
   */
  mset(payload: HashMsetPayload, options?: CallOptions): Promise<HashMsetResult> {
    return this.caller.call("hash.mset", payload, options);
  }

  /**
   * Store a value in a field unless it exists.
   *
   * Cost O(1). Since 0.2.
   */
  setnx(payload: HashSetnxPayload, options?: CallOptions): Promise<HashSetnxResult> {
    return this.caller.call("hash.setnx", payload, options);
  }

  /**
   * Read a field.
   *
   * Cost O(1). Since 0.2.
   */
  get<T = Json>(payload: HashGetPayload, options?: CallOptions): Promise<HashGetResult<T>> {
    return this.caller.call("hash.get", payload, options);
  }

  /**
   * Read several fields.
   *
   * Cost O(fields). Since 0.2.
   */
  mget<T = Json>(payload: HashMgetPayload, options?: CallOptions): Promise<HashMgetResult<T>> {
    return this.caller.call("hash.mget", payload, options);
  }

  /**
   * Read all fields, in the order they were first set.
   *
   * Cost O(n). Since 0.2.
   */
  getall<T = Json>(payload: HashGetallPayload, options?: CallOptions): Promise<HashGetallResult<T>> {
    return this.caller.call("hash.getall", payload, options);
  }

  /**
   * List the fields, in the order they were first set.
   *
   * Cost O(n). Since 0.2.
   */
  keys(payload: HashKeysPayload, options?: CallOptions): Promise<HashKeysResult> {
    return this.caller.call("hash.keys", payload, options);
  }

  /**
   * List the values of all fields.
   *
   * Cost O(n). Since 0.2.
   */
  vals<T = Json>(payload: HashValsPayload, options?: CallOptions): Promise<HashValsResult<T>> {
    return this.caller.call("hash.vals", payload, options);
  }

  /**
   * Count the fields.
   *
   * Cost O(1). Since 0.2.
   */
  len(payload: HashLenPayload, options?: CallOptions): Promise<HashLenResult> {
    return this.caller.call("hash.len", payload, options);
  }

  /**
   * Tell whether a field exists.
   *
   * Cost O(1). Since 0.2.
   */
  exists(payload: HashExistsPayload, options?: CallOptions): Promise<HashExistsResult> {
    return this.caller.call("hash.exists", payload, options);
  }

  /**
   * Delete fields; a hash without any is gone.
   *
   * Cost O(fields). Since 0.2.
   */
  del(payload: HashDelPayload, options?: CallOptions): Promise<HashDelResult> {
    return this.caller.call("hash.del", payload, options);
  }

  /**
   * Add to an integer; an absent field counts as 0.
   *
   * Cost O(1). Since 0.2.
   */
  incrby(payload: HashIncrbyPayload, options?: CallOptions): Promise<HashIncrbyResult> {
    return this.caller.call("hash.incrby", payload, options);
  }

  /**
   * Add to a number, in decimal arithmetic of 19 digits; an absent field counts as 0.
   *
   * Cost O(1). Since 0.2.
   */
  incrbyfloat(payload: HashIncrbyfloatPayload, options?: CallOptions): Promise<HashIncrbyfloatResult> {
    return this.caller.call("hash.incrbyfloat", payload, options);
  }

  /**
   * Page through fields in byte order. A field that is there from first page to last comes exactly once.
   *
   * Cost O(log n + fields looked at); the first one O(n log n). Since 0.2.
   */
  scan<T = Json>(payload: HashScanPayload, options?: CallOptions): Promise<HashScanResult<T>> {
    return this.caller.call("hash.scan", payload, options);
  }

  /**
   * Describe all hashes together.
   *
   * Cost O(1). Since 0.2.
   */
  stats(options?: CallOptions): Promise<HashStatsResult> {
    return this.caller.call("hash.stats", {}, options);
  }
}
