// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller } from "../types.js";

/** Payload of bitmap.setbit. */
export interface BitmapSetbitPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** at least 0; at most 4294967295 */
  readonly offset: number;
  /** at least 0; at most 1 */
  readonly value: number;
}

/** Payload of bitmap.getbit. */
export interface BitmapGetbitPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** at least 0; at most 4294967295 */
  readonly offset: number;
}

/** Payload of bitmap.bitcount: `start` and `end` are both inclusive, negatives from the end; neither means all. */
export interface BitmapBitcountPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly start?: number | null | bigint | undefined;
  readonly end?: number | null | bigint | undefined;
  /** "byte" when left out */
  readonly unit?: "bit" | "byte" | undefined;
}

/** Payload of bitmap.bitpos: `start` and `end` are both inclusive, negatives from the end. */
export interface BitmapBitposPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  /** at least 0; at most 1 */
  readonly value: number;
  readonly start?: number | null | bigint | undefined;
  readonly end?: number | null | bigint | undefined;
  /** "byte" when left out */
  readonly unit?: "bit" | "byte" | undefined;
}

/** Payload of bitmap.bitop. */
export interface BitmapBitopPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly destination: string;
  /** at least 1 of them */
  readonly keys: readonly string[];
  readonly operation: "and" | "not" | "or" | "xor";
}

/** Payload of bitmap.bitfield. */
export interface BitmapBitfieldPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly operations: readonly BitmapFieldOperation[];
}

/** One step of bitmap.bitfield; `set` takes a `value`, `incrby` an `increment`. */
export interface BitmapFieldOperation {
  readonly op: "get" | "incrby" | "set";
  /** u1 to u63, or i1 to i64 with a sign */
  readonly type: string;
  /** at least 0; at most 4294967295; '#3': three times the width of the type */
  readonly offset: number | string;
  readonly value?: number | null | bigint | undefined;
  readonly increment?: number | null | bigint | undefined;
  /** "wrap" when left out */
  readonly overflow?: "fail" | "sat" | "wrap" | undefined;
}

/** The bit before the change. */
export interface BitmapSetbitResult {
  previous: number;
}

/** A bit. */
export interface BitmapGetbitResult {
  value: number;
}

/** How many bits are set. */
export interface BitmapBitcountResult {
  count: number;
}

/** The position in bits from the beginning of the value; null when there is no such bit. */
export interface BitmapBitposResult {
  position: number | null;
}

/** Characters in the string, or elements in the collection, after the command. */
export interface BitmapBitopResult {
  length: number;
}

/** What get read, what set replaced, what incrby arrived at; null where overflow made it fail. */
export interface BitmapBitfieldResult {
  values: (number | null)[];
}

/** Keys of one type, what they hold, their memory, and how often each command ran since the server started. */
export interface BitmapStatsResult {
  total_keys: number;
  total_elements: number;
  memory_bytes: number;
  operations: Record<string, number>;
}

/** The commands `bitmap.*`. */
export class BitmapCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Set or clear a bit; the value grows up to it with zeros. The expiry stays.
   *
   * Cost O(1); O(bytes) when the value grows. Since 0.2.
   */
  setbit(payload: BitmapSetbitPayload, options?: CallOptions): Promise<BitmapSetbitResult> {
    return this.caller.call("bitmap.setbit", payload, options);
  }

  /**
   * Read a bit; 0 behind the value and for an absent key.
   *
   * Cost O(1). Since 0.2.
   */
  getbit(payload: BitmapGetbitPayload, options?: CallOptions): Promise<BitmapGetbitResult> {
    return this.caller.call("bitmap.getbit", payload, options);
  }

  /**
   * Count the bits that are set, in the whole value or in a range of bytes or bits.
   *
   * Cost O(bytes). Since 0.2.
   */
  bitcount(payload: BitmapBitcountPayload, options?: CallOptions): Promise<BitmapBitcountResult> {
    return this.caller.call("bitmap.bitcount", payload, options);
  }

  /**
   * Find the first bit that is `value`, in the whole value or in a range of bytes or bits.
   *
   * Without `end` the value counts as followed by zeros: a clear bit may be found right behind it. An absent key is all
   * zeros.
   *
   * Cost O(bytes). Since 0.2.
   */
  bitpos(payload: BitmapBitposPayload, options?: CallOptions): Promise<BitmapBitposResult> {
    return this.caller.call("bitmap.bitpos", payload, options);
  }

  /**
   * Combine bitmaps into another one, in place of whatever it held; `length` is in bytes.
   *
   * Shorter ones and absent keys are padded with zeros. Where all are absent, the destination is removed. Its expiry is
   * dropped.
   *
   * Cost O(bytes of all). Since 0.2.
   */
  bitop(payload: BitmapBitopPayload, options?: CallOptions): Promise<BitmapBitopResult> {
    return this.caller.call("bitmap.bitop", payload, options);
  }

  /**
   * Read, write and increment integers of any width at any bit, one after the other. The expiry stays.
   *
   * The value first grows up to the last field that is to be written, whether or not an overflow then fails.
   *
   * Cost O(operations); O(bytes) when the value grows. Since 0.2.
   */
  bitfield(payload: BitmapBitfieldPayload, options?: CallOptions): Promise<BitmapBitfieldResult> {
    return this.caller.call("bitmap.bitfield", payload, options);
  }

  /**
   * Describe all bitmaps together; their elements are bytes.
   *
   * Cost O(1). Since 0.2.
   */
  stats(options?: CallOptions): Promise<BitmapStatsResult> {
    return this.caller.call("bitmap.stats", {}, options);
  }
}
