// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller, Json, JsonInput } from "../types.js";

/** Payload of kv.set. */
export interface KvSetPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly value: JsonInput;
  /** seconds, decimals allowed; more than 0 */
  readonly ttl?: number | null | undefined;
  /** false when left out */
  readonly nx?: boolean | undefined;
  /** false when left out */
  readonly xx?: boolean | undefined;
  /** false when left out */
  readonly get?: boolean | undefined;
  /** false when left out */
  readonly keep_ttl?: boolean | undefined;
}

/** A command on one key. */
export interface KvGetPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** A command on one key or several. */
export interface KvDelPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key?: string | null | undefined;
  /** at least 1 of them */
  readonly keys?: readonly string[] | null | undefined;
}

/** A command on one key or several. */
export interface KvExistsPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key?: string | null | undefined;
  /** at least 1 of them */
  readonly keys?: readonly string[] | null | undefined;
}

/** Payload of kv.incr and kv.decr. */
export interface KvIncrPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** 1 when left out */
  readonly amount?: number | bigint | undefined;
}

/** Payload of kv.incr and kv.decr. */
export interface KvDecrPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** 1 when left out */
  readonly amount?: number | bigint | undefined;
}

/** Payload of kv.incrbyfloat. */
export interface KvIncrbyfloatPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly amount: number;
}

/** Payload of kv.expire; a `ttl` of 0 or less deletes the key. */
export interface KvExpirePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** seconds, decimals allowed */
  readonly ttl: number;
}

/** A command on one key. */
export interface KvPersistPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** A command on one key. */
export interface KvTtlPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** Payload of kv.mset: a list of pairs, or an object with a member for each key. */
export interface KvMsetPayload {
  readonly pairs: readonly KvPair[] | { readonly [name: string]: JsonInput };
}

/** Payload of kv.mget. */
export interface KvMgetPayload {
  readonly keys: readonly string[];
}

/** Payload of kv.msetnx: pairs as for kv.mset, or a single key with its value. */
export interface KvMsetnxPayload {
  readonly pairs?: readonly KvPair[] | { readonly [name: string]: JsonInput } | null | undefined;
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key?: string | null | undefined;
  readonly value?: JsonInput | undefined;
}

/** A command on several keys. */
export interface KvMdelPayload {
  readonly keys: readonly string[];
}

/** Payload of kv.append. */
export interface KvAppendPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly value: string;
}

/** Payload of kv.getrange: first and last character, negatives from the end. */
export interface KvGetrangePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly start: number | bigint;
  readonly end: number | bigint;
}

/** Payload of kv.setrange; `offset` in characters. */
export interface KvSetrangePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** at least 0; at most 33554432 */
  readonly offset: number;
  readonly value: string;
}

/** A command on one key. */
export interface KvStrlenPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** Payload of kv.getset. */
export interface KvGetsetPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly value: JsonInput;
}

/** A command on one key. */
export interface KvGetdelPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
}

/** Payload of kv.scan. `type` is as key.type names it. */
export interface KvScanPayload {
  readonly prefix?: string | null | undefined;
  readonly type?: "string" | "hash" | "list" | "set" | "sortedset" | "bitmap" | "hyperloglog" | null | undefined;
  readonly match?: string | null | undefined;
  readonly cursor?: string | null | undefined;
  /** at least 1; at most 10000; 100 when left out */
  readonly count?: number | undefined;
}

/** Payload of kv.keys; a glob. */
export interface KvKeysPayload {
  /** "*" when left out */
  readonly match?: string | undefined;
}

/** A key with its value. */
export interface KvPair {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly value: JsonInput;
  /** seconds, decimals allowed; more than 0 */
  readonly ttl?: number | null | undefined;
}

/** `previous` is the old value when `get` asked for it. */
export interface KvSetResult<T = Json> {
  key: string;
  success: boolean;
  previous: T | null;
}

/** `ttl` is in whole seconds, rounded up; null without expiry. */
export interface KvGetResult<T = Json> {
  found: boolean;
  value: T | null;
  ttl: number | null;
}

/** How many keys were there and are gone. */
export interface KvDelResult {
  deleted: number;
}

/** `exists` when all of them do; `count` counts a key as often as it was named. */
export interface KvExistsResult {
  exists: boolean;
  count: number;
}

/** The value after the change. */
export interface KvIncrResult {
  value: number;
}

/** The value after the change. */
export interface KvDecrResult {
  value: number;
}

/** The value after the change. */
export interface KvIncrbyfloatResult {
  value: number;
}

/** Whether the command found what it needed. */
export interface KvExpireResult {
  success: boolean;
}

/** Whether the command found what it needed. */
export interface KvPersistResult {
  success: boolean;
}

/** `ttl` is in whole seconds, rounded up; null without expiry. */
export interface KvTtlResult {
  found: boolean;
  ttl: number | null;
}

/** How many were set. */
export interface KvMsetResult {
  success: boolean;
  count: number;
}

/** JSON values in the order asked for; null where there is none. */
export interface KvMgetResult<T = Json> {
  values: (T | null)[];
}

/** Whether the command found what it needed. */
export interface KvMsetnxResult {
  success: boolean;
}

/** How many keys were there and are gone. */
export interface KvMdelResult {
  deleted: number;
}

/** Characters in the string, or elements in the collection, after the command. */
export interface KvAppendResult {
  length: number;
}

/** Part of a string. */
export interface KvGetrangeResult {
  value: string;
}

/** Characters in the string, or elements in the collection, after the command. */
export interface KvSetrangeResult {
  length: number;
}

/** Characters in the string, or elements in the collection, after the command. */
export interface KvStrlenResult {
  length: number;
}

/** The value before the change, null when there was none. */
export interface KvGetsetResult<T = Json> {
  value: T | null;
}

/** The value before the change, null when there was none. */
export interface KvGetdelResult<T = Json> {
  value: T | null;
}

/** A page of keys; `cursor` is null at the end. A page may hold fewer keys than `count`, even none. */
export interface KvScanResult {
  keys: string[];
  cursor: string | null;
  has_more: boolean;
}

/** Keys in key order. */
export interface KvKeysResult {
  keys: string[];
  count: number;
}

/** Number of keys. */
export interface KvDbsizeResult {
  size: number;
}

/** Number of keys removed. */
export interface KvFlushdbResult {
  flushed: number;
}

/** `hits` and `misses` count since the start of the server, `evicted` and `expired` over its whole history. */
export interface KvStatsResult {
  total_keys: number;
  by_type: Record<string, number>;
  expiring: number;
  memory_bytes: number;
  hits: number;
  misses: number;
  evicted: number;
  expired: number;
}

/** The commands `kv.*`. */
export class KvCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Store a JSON value under a key, replacing what was there.
   *
   * `ttl` lets it expire; without `ttl` or `keep_ttl` an earlier expiry is dropped. `nx` sets only an absent key, `xx`
   * only a present one; unmet, `success` is false.
   *
   * Cost O(1); O(log n) for a new key. Since 0.1.
   */
  set<T = Json>(payload: KvSetPayload, options?: CallOptions): Promise<KvSetResult<T>> {
    return this.caller.call("kv.set", payload, options);
  }

  /**
   * Read the value of a key.
   *
   * Cost O(1). Since 0.1.
   */
  get<T = Json>(payload: KvGetPayload, options?: CallOptions): Promise<KvGetResult<T>> {
    return this.caller.call("kv.get", payload, options);
  }

  /**
   * Delete keys of any type.
   *
   * Cost O(k log n). Since 0.1.
   */
  del(payload: KvDelPayload = {}, options?: CallOptions): Promise<KvDelResult> {
    return this.caller.call("kv.del", payload, options);
  }

  /**
   * Tell whether keys of any type exist.
   *
   * Cost O(k). Since 0.1.
   */
  exists(payload: KvExistsPayload = {}, options?: CallOptions): Promise<KvExistsResult> {
    return this.caller.call("kv.exists", payload, options);
  }

  /**
   * Add to an integer; an absent key counts as 0. The expiry stays.
   *
   * Cost O(1). Since 0.1.
   */
  incr(payload: KvIncrPayload, options?: CallOptions): Promise<KvIncrResult> {
    return this.caller.call("kv.incr", payload, options);
  }

  /**
   * Subtract from an integer; an absent key counts as 0. The expiry stays.
   *
   * Cost O(1). Since 0.1.
   */
  decr(payload: KvDecrPayload, options?: CallOptions): Promise<KvDecrResult> {
    return this.caller.call("kv.decr", payload, options);
  }

  /**
   * Add to a number, in decimal arithmetic of 19 digits; an absent key counts as 0. The expiry stays.
   *
   * Cost O(1). Since 0.1.
   */
  incrbyfloat(payload: KvIncrbyfloatPayload, options?: CallOptions): Promise<KvIncrbyfloatResult> {
    return this.caller.call("kv.incrbyfloat", payload, options);
  }

  /**
   * Let a key of any type expire after `ttl` seconds.
   *
   * Cost O(log n). Since 0.1.
   */
  expire(payload: KvExpirePayload, options?: CallOptions): Promise<KvExpireResult> {
    return this.caller.call("kv.expire", payload, options);
  }

  /**
   * Drop the expiry of a key; false when there is no key or no expiry.
   *
   * Cost O(1). Since 0.1.
   */
  persist(payload: KvPersistPayload, options?: CallOptions): Promise<KvPersistResult> {
    return this.caller.call("kv.persist", payload, options);
  }

  /**
   * Tell how long a key of any type will live.
   *
   * Cost O(1). Since 0.1.
   */
  ttl(payload: KvTtlPayload, options?: CallOptions): Promise<KvTtlResult> {
    return this.caller.call("kv.ttl", payload, options);
  }

  /**
   * Set several keys at once.
   *
   * Cost O(k log n). Since 0.1.
   */
  mset(payload: KvMsetPayload, options?: CallOptions): Promise<KvMsetResult> {
    return this.caller.call("kv.mset", payload, options);
  }

  /**
   * Read several keys at once.
   *
   * Cost O(k). Since 0.1.
   */
  mget<T = Json>(payload: KvMgetPayload, options?: CallOptions): Promise<KvMgetResult<T>> {
    return this.caller.call("kv.mget", payload, options);
  }

  /**
   * Set several keys if none of them exists: all or nothing.
   *
   * Cost O(k log n). Since 0.1.
   */
  msetnx(payload: KvMsetnxPayload = {}, options?: CallOptions): Promise<KvMsetnxResult> {
    return this.caller.call("kv.msetnx", payload, options);
  }

  /**
   * Delete several keys of any type.
   *
   * Cost O(k log n). Since 0.1.
   */
  mdel(payload: KvMdelPayload, options?: CallOptions): Promise<KvMdelResult> {
    return this.caller.call("kv.mdel", payload, options);
  }

  /**
   * Append text to a string; an absent key counts as empty. The expiry stays.
   *
   * Cost O(length). Since 0.1.
   */
  append(payload: KvAppendPayload, options?: CallOptions): Promise<KvAppendResult> {
    return this.caller.call("kv.append", payload, options);
  }

  /**
   * Read part of a string by character positions, both ends included.
   *
   * Cost O(length). Since 0.1.
   */
  getrange(payload: KvGetrangePayload, options?: CallOptions): Promise<KvGetrangeResult> {
    return this.caller.call("kv.getrange", payload, options);
  }

  /**
   * Write text over part of a string, padding it with NUL characters up to `offset`. The expiry stays.
   *
   * Cost O(length). Since 0.1.
   */
  setrange(payload: KvSetrangePayload, options?: CallOptions): Promise<KvSetrangeResult> {
    return this.caller.call("kv.setrange", payload, options);
  }

  /**
   * Count the characters of a string; 0 for an absent key.
   *
   * Cost O(length). Since 0.1.
   */
  strlen(payload: KvStrlenPayload, options?: CallOptions): Promise<KvStrlenResult> {
    return this.caller.call("kv.strlen", payload, options);
  }

  /**
   * Store a value and return the one it replaces. An expiry is dropped.
   *
   * Cost O(1). Since 0.1.
   */
  getset<T = Json>(payload: KvGetsetPayload, options?: CallOptions): Promise<KvGetsetResult<T>> {
    return this.caller.call("kv.getset", payload, options);
  }

  /**
   * Return a value and delete its key.
   *
   * Cost O(log n). Since 0.1.
   */
  getdel<T = Json>(payload: KvGetdelPayload, options?: CallOptions): Promise<KvGetdelResult<T>> {
    return this.caller.call("kv.getdel", payload, options);
  }

  /**
   * Page through keys in key order. A key that is there from first page to last comes exactly once.
   *
   * Cost O(log n + keys looked at). Since 0.1.
   */
  scan(payload: KvScanPayload = {}, options?: CallOptions): Promise<KvScanResult> {
    return this.caller.call("kv.scan", payload, options);
  }

  /**
   * List all keys that match a glob.
   *
   * Where there are many, this takes several turns of the server: keys that come or go meanwhile may be told or not.
   *
   * Cost O(n); prefer kv.scan. Since 0.1.
   */
  keys(payload: KvKeysPayload = {}, options?: CallOptions): Promise<KvKeysResult> {
    return this.caller.call("kv.keys", payload, options);
  }

  /**
   * Count the keys.
   *
   * Cost O(1). Since 0.1.
   */
  dbsize(options?: CallOptions): Promise<KvDbsizeResult> {
    return this.caller.call("kv.dbsize", {}, options);
  }

  /**
   * Delete every key of every type.
   *
   * Cost O(1). Since 0.1. Needs a permission for administrators.
   */
  flushdb(options?: CallOptions): Promise<KvFlushdbResult> {
    return this.caller.call("kv.flushdb", {}, options);
  }

  /**
   * Describe the keyspace.
   *
   * Cost O(1). Since 0.1.
   */
  stats(options?: CallOptions): Promise<KvStatsResult> {
    return this.caller.call("kv.stats", {}, options);
  }
}
