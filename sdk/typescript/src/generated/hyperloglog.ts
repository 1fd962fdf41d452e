// Generated from the command table by `python -m sdk.generate`. Do not edit.

import type { CallOptions, Caller } from "../types.js";

/** Payload of hyperloglog.pfadd. Without any elements it only makes the key. */
export interface HyperloglogPfaddPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key: string;
  readonly element?: string | null | undefined;
  readonly elements?: readonly string[] | null | undefined;
}

/** A command on one key or several. */
export interface HyperloglogPfcountPayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly key?: string | null | undefined;
  /** at least 1 of them */
  readonly keys?: readonly string[] | null | undefined;
}

/** Payload of hyperloglog.pfmerge. */
export interface HyperloglogPfmergePayload {
  /** 1 byte to 64 KiB of UTF-8 */
  readonly destination: string;
  readonly sources: readonly string[];
}

/** Whether the key is new or what it counts has changed. */
export interface HyperloglogPfaddResult {
  changed: boolean;
}

/** The estimated number of distinct elements. */
export interface HyperloglogPfcountResult {
  count: number;
}

/** Whether the command found what it needed. */
export interface HyperloglogPfmergeResult {
  success: boolean;
}

/** Keys of one type, what they hold, their memory, and how often each command ran since the server started. */
export interface HyperloglogStatsResult {
  total_keys: number;
  total_elements: number;
  memory_bytes: number;
  operations: Record<string, number>;
}

/** The commands `hyperloglog.*`. */
export class HyperloglogCommands {
  protected readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Count elements in; those that were counted before change nothing.
   *
   * Cost O(elements). Since 0.2.
   */
  pfadd(payload: HyperloglogPfaddPayload, options?: CallOptions): Promise<HyperloglogPfaddResult> {
    return this.caller.call("hyperloglog.pfadd", payload, options);
  }

  /**
   * Estimate how many distinct elements were added to a key, or to several taken together.
   *
   * Cost O(1); O(keys) for several, under 1 ms each. Since 0.2.
   */
  pfcount(payload: HyperloglogPfcountPayload = {}, options?: CallOptions): Promise<HyperloglogPfcountResult> {
    return this.caller.call("hyperloglog.pfcount", payload, options);
  }

  /**
   * Count into the destination all that the sources have counted. Its expiry stays.
   *
   * Cost O(sources), under 1 ms each. Since 0.2.
   */
  pfmerge(payload: HyperloglogPfmergePayload, options?: CallOptions): Promise<HyperloglogPfmergeResult> {
    return this.caller.call("hyperloglog.pfmerge", payload, options);
  }

  /**
   * Describe all HyperLogLogs together.
   *
   * Cost O(1). Since 0.2.
   */
  stats(options?: CallOptions): Promise<HyperloglogStatsResult> {
    return this.caller.call("hyperloglog.stats", {}, options);
  }
}
